"""The paper's Figure 1 in network namespaces on this machine."""

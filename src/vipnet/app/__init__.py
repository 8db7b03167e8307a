"""The daemon: configuration, the only nursery tree, the control socket."""

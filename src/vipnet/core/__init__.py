"""The protocol without I/O: inputs with `now`, outputs as values."""

"""Keys in, bytes out; no clock, no I/O."""

"""One file a family of commands; speaks to a running daemon over its socket."""

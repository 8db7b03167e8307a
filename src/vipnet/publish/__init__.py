"""One dynamic-DNS provider a file behind one protocol."""

"""vipnet: a host is its DNS name; connections go on while one or both ends move."""

__version__ = "0.1.0"

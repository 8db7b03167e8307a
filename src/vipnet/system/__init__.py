"""One device or service of the operating system a file, under trio."""

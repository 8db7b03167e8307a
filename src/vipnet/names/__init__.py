"""DNS without I/O: records, answers, what to publish."""

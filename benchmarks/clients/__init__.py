"""The Python programs that are compared. Each gets its job as one argument, in JSON."""

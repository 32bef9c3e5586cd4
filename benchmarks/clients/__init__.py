"""The programs that are compared: each sends what its one argument, in JSON, asks for."""

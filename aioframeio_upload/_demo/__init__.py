"""The command `demo`: watch an upload recover from faults, without an account."""

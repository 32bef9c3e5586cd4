"""The pure core: decisions and records, without a loop, a clock, a socket or a file."""

"""The pure core, without a loop, a clock or a socket: mostly properties."""

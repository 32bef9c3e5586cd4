"""Input and output: one module for each thing outside the process that the library touches."""

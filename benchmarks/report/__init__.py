"""The tables and plots of README and docs/benchmarks.md, made of the recorded results."""

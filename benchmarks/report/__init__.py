"""Make the tables and plots of README and docs/benchmarks.md from the recorded results."""

"""What the benchmarks share: where the runs take place, how one is measured, how they are compared and recorded."""

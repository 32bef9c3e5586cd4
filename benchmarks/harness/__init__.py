"""The parts that all benchmarks share: the place of the runs, the measurement, the comparison, and the record."""

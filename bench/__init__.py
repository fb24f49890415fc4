"""The benchmark: how fast the real processes are on this machine (docs/benchmarks.md says what each row means)."""

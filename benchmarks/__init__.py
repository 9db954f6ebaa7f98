"""Speed and memory beside peers in the same run; see `docs/benchmarks.md`."""

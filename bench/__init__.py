"""Benchmarks: what `make bench` measures, everything in one run on one machine."""

"""Benchmarks: always a ratio of two sides measured in one run."""

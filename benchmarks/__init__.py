"""Measures the tool side by side with its earlier releases: `python -m benchmarks`."""

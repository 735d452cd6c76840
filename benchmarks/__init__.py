"""Measures kernels side by side: `python -m benchmarks` from the repository's root (see README.md)."""

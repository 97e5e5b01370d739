"""The sections of `benchmarks/gpu.py`, one module per kind."""

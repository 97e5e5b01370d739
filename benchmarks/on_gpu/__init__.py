"""What `benchmarks/gpu.py` runs, one module to a kind of section."""

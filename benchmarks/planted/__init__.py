"""The parts of `benchmarks/control.py`: a language, a model of it, the truth, and the road."""

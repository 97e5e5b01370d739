"""Checkpoints with packed (quantised) weights: what they hold, and unpacking it while loading."""

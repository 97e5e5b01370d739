"""Evaluate: ablate the selected neurons and see how the model's choices shift."""

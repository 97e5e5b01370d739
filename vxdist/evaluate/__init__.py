"""Evaluate: switch value neurons off and see how the model's choices shift."""

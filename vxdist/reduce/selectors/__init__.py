"""Selectors: which neurons carry a value."""

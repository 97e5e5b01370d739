"""Reduce: from counts to entropy to the neurons of each value."""

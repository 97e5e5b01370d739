"""The model: where it comes from, where its neurons are, watching and masking them."""

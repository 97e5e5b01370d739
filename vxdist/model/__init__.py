"""The model: where it comes from, how it is loaded, and where its neurons are."""

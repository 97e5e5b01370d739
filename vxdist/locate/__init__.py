"""Locate: record, for every part of the corpus, how often each neuron is active."""

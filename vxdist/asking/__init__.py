"""Asking a model about dilemmas: outcomes, prompts, and what decides the questions' tokens."""

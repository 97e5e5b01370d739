"""Attribute: how much each neuron moves the choices, to first order, by gradients."""

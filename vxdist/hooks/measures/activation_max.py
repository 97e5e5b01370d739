"""The largest activation. R: counted row, N: neuron."""

import torch


def measure(activation_RN: torch.Tensor) -> torch.Tensor:
    """The largest activation of each neuron, (N,)."""
    return activation_RN.amax(dim=0)

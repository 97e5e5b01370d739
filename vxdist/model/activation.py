"""Whether neurons can be told active or not by the outputs of an activation function.

N: neuron.
"""

import torch
from torch import nn

RANGE = 8.0
"""Largest input tried; beyond it no function in use changes its sign."""
TOLERANCE = 1e-2
"""Largest change of an output when other inputs change; bfloat16 needs it."""


def is_fixed(function: nn.Module) -> bool:
    """Whether it has no parameters, and so works on a model without weights too."""
    return not [*function.parameters(), *function.buffers()]


@torch.inference_mode()
def find_fault(
    function: nn.Module,
    num_units: int,
    device: torch.device | None = None,
    dtype: torch.dtype = torch.float32,
) -> str | None:
    """What is wrong with an activation function, for messages; None if nothing is.

    A neuron is active where its output is above zero, so the function must be above zero for some
    inputs and not for others, and each output must depend on the input of its own neuron alone.
    """
    input_1N = torch.linspace(-RANGE, RANGE, num_units, device=device).to(dtype)[None]
    name = type(function).__name__
    try:
        output_1N = function(input_1N)
    except TypeError:
        return f"{name} takes other inputs than the gate's, so that more comes out of it"
    if not isinstance(output_1N, torch.Tensor) or output_1N.shape != input_1N.shape:
        return f"{name} does not return one activation for each neuron"
    active_1N = output_1N > 0
    if active_1N.all():
        return f"{name} is above zero for every input, so that every neuron is always active"
    if not active_1N.any():
        return f"{name} is above zero for no input, so that no neuron is ever active"
    others_1N = input_1N.clone()
    others_1N[:, ::2] = 0
    change_1N = (function(others_1N) - output_1N)[:, 1::2].abs()
    if change_1N.numel() and change_1N.max() > TOLERANCE * RANGE:
        return f"{name} mixes the inputs of several neurons"
    return None

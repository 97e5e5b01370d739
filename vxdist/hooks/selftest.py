"""Self-test at load: verify, on a few tokens, that the hook points are the FFN activations.

B: variant of the same text, T: token, D: hidden size, N: neuron, S: row of one call, E: expert.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from vxdist.errors import UserError
from vxdist.hooks.attach import Handle, Rows, watch
from vxdist.model.activation import find_fault
from vxdist.model.blocks import Block, HookPoints
from vxdist.model.decoder import find_decoder
from vxdist.model.hook_points import find_hook_points

NONE, ALL, EVEN, ODD, ONES = range(5)
"""Variants of the text, by the neurons that are ablated; in the last all are set to one."""
TOKENS = (1, 2, 3, 5)
"""The test works with any tokens."""
TOLERANCE = 0.05
"""Largest error of the test's equations, as a fraction of the largest output; bfloat16 needs it."""
CONSTANT = 0.01
"""Relative change of an output between tokens up to which it is constant but for rounding. In real
models half of the outputs change by a tenth and more, though the largest may hardly change."""


def ready_hook_points(model: PreTrainedModel) -> HookPoints:
    """Find the hook points of a loaded model and verify them.

    Raises UserError if its layout is not supported, or the hook points are not its neurons.
    """
    decoder = find_decoder(model)
    hook_points = find_hook_points(decoder)
    check_hook_points(decoder, hook_points, TOKENS)
    return hook_points


@torch.no_grad()
def check_hook_points(
    decoder: nn.Module, hook_points: HookPoints, token_ids: Sequence[int]
) -> None:
    """Verify on a few tokens that the neurons are at the hook points. Reads no weights.

    A batch holds the same text five times, with none, all, the even or the odd neurons set to
    zero, and with all set to one. After each block, all rows continue with the output of the first,
    so that every layer gets the same input. If the hook points are a block's neurons, its output f
    with all neurons at zero does not depend on the token, and f is linear in the neurons:
    f(none) + f(all) = f(even) + f(odd). In a gated block, f of neurons at one still depends on the
    token, through the up projection; it would not if the product with it were watched. The
    activation functions must be above zero for some inputs only, each for its own neuron.
    Not in inference mode: what a model keeps of its first pass could never be in a graph.
    Raises UserError otherwise.
    """
    weight = next(decoder.parameters())
    trial = _Trial(hook_points, len(token_ids))
    trial.check_functions(weight.device, weight.dtype)
    blocks = hook_points.blocks
    handles: list[Handle] = [of.activation.register_forward_hook(trial.read(of)) for of in blocks]
    handles += watch(hook_points, trial.ablate)
    handles += [of.output.register_forward_hook(trial.check(of)) for of in blocks]
    token_ids_BT = torch.tensor([list(token_ids)] * (ONES + 1), device=weight.device)
    try:
        decoder(input_ids=token_ids_BT, use_cache=False)
    finally:
        for handle in handles:
            handle.remove()
    trial.check_calls()
    if trial.faults:
        block, fault = trial.faults[0]
        raise UserError(
            f"model.path: {type(decoder).__name__} has the modules of the layout "
            f"{block.layout.describe()}, but its {block.num_units} neurons per block "
            f"are not there: {block.name}{fault}; vxdist does not support this model"
        )


class _Trial:
    """Ablates neurons by row, and checks the outputs."""

    def __init__(self, hook_points: HookPoints, length: int) -> None:
        self.faults: list[tuple[Block, str]] = []
        """What is wrong, behind the block's name in a message."""
        self._calls = dict.fromkeys(hook_points.blocks, 0)
        self._length = length
        self._ablated_BN = {n: _variants(n) for n in {of.num_units for of in hook_points.blocks}}

    def check_functions(self, device: torch.device, dtype: torch.dtype) -> None:
        for block in self._calls:
            fault = find_fault(block.activation, block.num_units, device, dtype)
            if fault is not None:
                self.faults.append((block, f": its activation function: {fault}"))

    def check_calls(self) -> None:
        """A block runs once, or an expert of those in use."""
        for block, times in self._calls.items():
            if not 1 <= times <= max(1, block.num_experts):
                self.faults.append((block, f": the activation function ran {times} times"))

    def read(self, block: Block) -> Any:
        def hook(_: nn.Module, inputs: tuple[Any, ...], output: torch.Tensor) -> None:
            shapes = [tensor.shape for tensor in inputs if isinstance(tensor, torch.Tensor)]
            if len(shapes) != 1:
                fault = (
                    f": its activation function reads {len(shapes)} tensors, so that more than the "
                    "activations comes out of it"
                )
                self.faults.append((block, fault))
            elif shapes[0] != output.shape:
                fault = (
                    f": its activation function turns {shapes[0][-1]} inputs into "
                    f"{output.shape[-1]} activations"
                )
                self.faults.append((block, fault))

        return hook

    def ablate(
        self, block: Block, activation: torch.Tensor, rows: Rows | None
    ) -> torch.Tensor | None:
        self._calls[block] += 1
        if activation.shape[-1] != block.num_units:
            self.faults.append((block, f" has {activation.shape[-1]} activations"))
            return None
        activation_SN = activation.reshape(-1, block.num_units)
        every_S = torch.arange(len(activation_SN), device=activation.device)
        token_S = every_S if rows is None else rows.token_S
        ablated_BN = self._ablated_BN[block.num_units].to(activation.device)
        ablated_SN = ablated_BN[token_S // self._length]
        ones_S1 = (token_S // self._length == ONES)[:, None]
        # Not a product, which would keep a NaN.
        replaced_SN = activation_SN.masked_fill(ablated_SN, 0).masked_fill(ones_S1, 1)
        return replaced_SN.reshape(activation.shape)

    def check(self, block: Block) -> Any:
        def hook(_: nn.Module, args: tuple[Any, ...], output: torch.Tensor) -> torch.Tensor:
            # Of experts that all run on all tokens, the sum over them.
            output_EBTD = output.reshape(-1, ONES + 1, self._length, output.shape[-1])
            found_BTD = output_EBTD.float().sum(0)
            least = TOLERANCE * found_BTD.abs().max()
            rest = None if block.runner is None else block.runner.rest(*args)
            if rest is not None:
                found_BTD = found_BTD - rest.float().reshape(found_BTD.shape)
            bias_TD = found_BTD[ALL]
            if (bias_TD - bias_TD[0]).abs().max() > least:
                self.faults.append((block, ": part of the output bypasses the neurons"))
            whole_TD = found_BTD[NONE] + bias_TD
            if (whole_TD - found_BTD[EVEN] - found_BTD[ODD]).abs().max() > least:
                self.faults.append((block, ": its output is not a sum over its neurons"))
            if block.layout.gated and _is_constant(found_BTD[ONES]):
                fault = (
                    ": what is watched is the product with the up projection, not the activations"
                )
                self.faults.append((block, fault))
            # A copy, since some layers add to it in place.
            return output_EBTD[:, :1].repeat(1, ONES + 1, 1, 1).reshape(output.shape)

        return hook


def _variants(num_units: int) -> torch.Tensor:
    """Which of so many neurons are ablated in each variant, (variant, neuron)."""
    even_N = torch.arange(num_units) % 2 == 0
    none_N = torch.zeros_like(even_N)
    return torch.stack([none_N, ~none_N, even_N, ~even_N, none_N])


def _is_constant(output_TD: torch.Tensor) -> bool:
    """Whether half of the outputs do not depend on the token."""
    change_D = (output_TD - output_TD[0]).abs().amax(0)
    largest_D = output_TD.abs().amax(0).clamp_min(torch.finfo(output_TD.dtype).tiny)
    return bool((change_D / largest_D).median() <= CONSTANT)

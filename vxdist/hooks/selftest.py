"""A self-test of a few tokens: are the neurons where they are thought to be?

B: variant of the same text, T: token, D: hidden size, N: neuron.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from vxdist.errors import UserError
from vxdist.hooks.attach import watch
from vxdist.model.hook_points import HookPoints, find_hook_points

NONE_OFF, ALL_OFF, EVEN_OFF, ODD_OFF = range(4)
TOKENS = (1, 2, 3, 5)
"""Any tokens will do."""
TOLERANCE = 0.05
"""Of the largest output, for a sum of two that must equal another two; bfloat16 needs it."""


def ready_hook_points(model: PreTrainedModel) -> HookPoints:
    """Find the neurons of a loaded model and test that they are where they seem to be."""
    decoder = model.get_decoder()
    hook_points = find_hook_points(decoder)
    check_hook_points(decoder, hook_points, TOKENS)
    return hook_points


@torch.inference_mode()
def check_hook_points(
    decoder: nn.Module, hook_points: HookPoints, token_ids: Sequence[int]
) -> None:
    """Run a few tokens and make sure that the neurons are where `sites` says. Reads no weights.

    One batch holds the same text four times, with none, all, the even or the odd neurons set to
    zero. Behind a block, every row goes on with what the first has, so that each layer meets the
    same input. Of a block that is what it is taken for, f(all off) does not depend on the token,
    and f is linear in the neurons: f(none) + f(all) = f(even) + f(odd).
    Raises UserError if not.
    """
    trial = _Trial(hook_points, len(token_ids))
    handles = watch(hook_points, trial.zero)
    handles += [m.register_forward_hook(trial.look(i)) for i, m in enumerate(hook_points.outputs)]
    token_ids_BT = torch.tensor([list(token_ids)] * 4, device=next(decoder.parameters()).device)
    try:
        decoder(input_ids=token_ids_BT, use_cache=False)
    finally:
        for handle in handles:
            handle.remove()
    faults = trial.faults + [
        f"layer {layer}: the activation function ran {times} times"
        for layer, times in enumerate(trial.calls)
        if not (times == 1 or (hook_points.num_experts and 1 <= times <= hook_points.num_experts))
    ]
    if faults:
        raise UserError(
            f"model.path: the neurons of {type(decoder).__name__} are not at "
            f"{hook_points.layout.describe()}, expected {hook_points.num_units} of a block: "
            f"{faults[0]}"
        )


class _Trial:
    """Switches neurons off by row, and looks at what comes out."""

    def __init__(self, hook_points: HookPoints, length: int) -> None:
        self.calls = [0] * hook_points.num_layers
        self.faults: list[str] = []
        self._units = hook_points.num_units
        self._length = length
        even_N = torch.arange(hook_points.num_units) % 2 == 0
        none_N = torch.zeros_like(even_N)
        self._off_BN = torch.stack([none_N, ~none_N, even_N, ~even_N])

    def zero(
        self, layer: int, activation: torch.Tensor, expert: int, token_S: torch.Tensor | None
    ) -> torch.Tensor | None:
        self.calls[layer] += 1
        if activation.shape[-1] != self._units:
            self.faults.append(f"layer {layer} has {activation.shape[-1]} activations")
            return None
        activation_SN = activation.reshape(-1, self._units)
        if token_S is None:
            token_S = torch.arange(len(activation_SN), device=activation.device)
        off_SN = self._off_BN.to(activation.device)[token_S // self._length]
        # Not a product: it would keep a NaN.
        return activation_SN.masked_fill(off_SN, 0).reshape(activation.shape)

    def look(self, layer: int) -> Any:
        def hook(_: nn.Module, __: Any, output: torch.Tensor) -> torch.Tensor:
            output_BTD = output.reshape(4, self._length, -1)
            found_BTD = output_BTD.float()
            least = TOLERANCE * found_BTD.abs().max()
            bias_TD = found_BTD[ALL_OFF]
            if (bias_TD - bias_TD[0]).abs().max() > least:
                self.faults.append(f"layer {layer}: something passes by the neurons")
            whole_TD = found_BTD[NONE_OFF] + bias_TD
            if (whole_TD - found_BTD[EVEN_OFF] - found_BTD[ODD_OFF]).abs().max() > least:
                self.faults.append(f"layer {layer}: its output is not a sum over its neurons")
            # A copy: some layers add to it in place.
            return output_BTD[:1].repeat(4, 1, 1).reshape(output.shape)

        return hook

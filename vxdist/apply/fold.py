"""Folding an intervention into down projections: the same outputs, without hooks.

A block's output is b and the sum over j of h_j * g_j * W_j: W_j is the column of neuron j, and g_j
what a gated block multiplies its activation by (else 1). So h_j -> scale * h_j + shift is

    W_j -> scale * W_j, exactly, and
    b   -> b + shift * W_j, if g_j is 1 and there is a bias.

With a gate the shift gives shift * g_j, which differs from token to token: no weight says that.

N: neuron ablated, U: unit, D: hidden size, E: expert.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from vxdist.errors import UserError
from vxdist.hooks.interventions import Affine
from vxdist.model.blocks import Block, HookPoints, Placed
from vxdist.model.down import DownProjection

Integers = NDArray[np.integer[Any]]
INSTEAD = "ablate with --intervention zero, or hook the loaded model with vxdist.ablate"


@dataclass(frozen=True, kw_only=True)
class Columns:
    """Neurons of one dense block or expert, and what becomes of them."""

    weight: str
    """Name of the checkpoint's tensor."""
    expert: int | None
    """Which of the stacked experts the tensor's columns are of; None if they are of one only."""
    bias: str | None
    """Tensor that takes up the shifts; None if there is no shift."""
    transposed: bool
    unit_N: Integers
    scale_N: NDArray[np.float32]
    shift_N: NDArray[np.float32]


def plan_folds(
    neurons: Mapping[int, Integers],
    affine: Affine,
    hook_points: HookPoints,
    projections: list[DownProjection],
    intervention: str,
) -> list[Columns]:
    """What to change, in the order of the layers. `neurons` are those to ablate, by layer.

    Raises UserError if the intervention, called `intervention` in messages, shifts activations
    where that cannot be folded.
    """
    down_of = dict(zip(hook_points.blocks, projections, strict=True))
    return [
        _columns(placed, affine, np.asarray(number_N), down_of[placed.block], intervention)
        for layer, number_N in sorted(neurons.items())
        for placed in hook_points.place(layer, np.asarray(number_N))
    ]


def _columns(
    placed: Placed, affine: Affine, number_N: Integers, down: DownProjection, intervention: str
) -> Columns:
    block, here_N = placed.block, number_N[placed.at_N]
    stacked = block.num_experts > 0 and len(down.weights) == 1
    shift_N = affine.shift_LN[block.layer, here_N]
    if shift_N.any():
        _refuse_shift(block, down, intervention)
    return Columns(
        weight=down.weights[0 if stacked else placed.expert],
        expert=placed.expert if stacked else None,
        bias=down.bias if shift_N.any() else None,
        transposed=down.transposed,
        unit_N=placed.unit_N,
        scale_N=affine.scale_LN[block.layer, here_N],
        shift_N=shift_N,
    )


def _refuse_shift(block: Block, down: DownProjection, intervention: str) -> None:
    what = f"--intervention {intervention}: cannot be folded into the weights: "
    if block.layout.gated:
        raise UserError(
            f"{what}this model multiplies each activation by its up projection, so that a constant "
            f"activation gives another output for every token; {INSTEAD}"
        )
    if down.bias is None:
        raise UserError(
            f"{what}this model's down projections have no bias to add the shift to; {INSTEAD}"
        )


@torch.no_grad()
def fold(columns: Columns, weight: torch.Tensor, bias: torch.Tensor | None) -> None:
    """Change a tensor of down projections, and the bias if there is a shift, in place.

    `weight` is (D, U), or (U, D) if it is transposed, or (E, D, U) for stacked experts.
    """
    matrix = weight if columns.expert is None else weight[columns.expert]
    matrix_DU = matrix.T if columns.transposed else matrix
    unit_N = torch.as_tensor(np.asarray(columns.unit_N, dtype=np.int64))
    scale_N = torch.as_tensor(columns.scale_N, dtype=torch.float64)
    column_DN = matrix_DU[:, unit_N].double()
    if bias is not None:
        shift_N = torch.as_tensor(columns.shift_N, dtype=torch.float64)
        bias.copy_(bias.double() + column_DN @ shift_N)
    # Not a product, which would keep a NaN, and give -0.
    scaled_DN = torch.where(scale_N == 0, 0.0, column_DN * scale_N)
    matrix_DU[:, unit_N] = scaled_DN.to(matrix_DU.dtype)

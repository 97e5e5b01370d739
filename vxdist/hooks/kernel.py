"""Statistics of a layer's activations, in one pass over them.

T: token of a batch (rows of all stories, flattened), N: neuron, R: row of a block. Of experts,
S: row, E: expert, U: unit of an expert.

Per neuron three sums are wanted: of (activation > 0), activation, and its square. Reading the
activations costs more than the arithmetic, so a GPU reads them once, in a Triton kernel; plain
torch needs several passes, over blocks that stay in the cache. A block is summed in float32 and
blocks are added in float64, in a fixed order: see `ERROR`. The number of active rows is exact.
"""

import functools
import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch

from vxstore.statistics import Combine

if TYPE_CHECKING:
    from vxdist.hooks.measures import Measure

ERROR = 4e-6
"""A sum differs from one in float64 by at most this share of the sum of absolute values.

That is 64 roundings of 2^-24 in a row: torch adds in four levels of 16, the kernel in fewer."""
BLOCK = 2**21
"""Numbers in a block: 8 MB in float32. Smaller ones would fit nearer caches, but every operation
wakes the other threads (or launches a kernel), which costs as much as it saves."""


def accumulate(
    activation_TN: torch.Tensor,
    counted_T: torch.Tensor | None,
    active_N: torch.Tensor,
    sum_N: torch.Tensor,
    square_N: torch.Tensor,
) -> None:
    """Add the counted rows' statistics to the last three: int64, float64 and float64.

    `counted_T` is bool over all rows; None counts all. Rows may have any stride; neurons lie side
    by side. What is not finite in a counted row shows as not finite in the sums; other rows are
    left out whatever they hold. The same inputs give the same bits.
    """
    if activation_TN.is_cuda and _triton_runs(_try_rows):
        from vxdist.hooks.kernel_triton import accumulate_triton

        accumulate_triton(activation_TN, counted_T, active_N, sum_N, square_N)
    else:
        accumulate_torch(activation_TN, counted_T, active_N, sum_N, square_N)


@torch.no_grad()
def accumulate_torch(
    activation_TN: torch.Tensor,
    counted_T: torch.Tensor | None,
    active_N: torch.Tensor,
    sum_N: torch.Tensor,
    square_N: torch.Tensor,
) -> None:
    """`accumulate` in plain torch, for any device."""
    rows_T = None
    if counted_T is not None and not bool(counted_T.all()):
        rows_T = counted_T.nonzero().squeeze(1)
    num_rows = len(activation_TN if rows_T is None else rows_T)
    num_neurons = sum_N.numel()
    step = max(1, BLOCK // num_neurons)
    total_3N = torch.zeros_like(sum_N).repeat(3, 1)
    for first in range(0, num_rows, step):
        shape = (min(step, num_rows - first), num_neurons)
        picked_RN, float_RN, result_RN = _rooms(shape, activation_TN)
        if rows_T is None:
            value_RN = activation_TN[first : first + step]
        else:
            rows_R = rows_T[first : first + step]
            value_RN = torch.index_select(activation_TN, 0, rows_R, out=picked_RN)
        if value_RN.dtype != torch.float32:
            value_RN = float_RN.copy_(value_RN)
        # Ones in float32 add up quicker than bools, and exactly.
        total_3N[0] += torch.gt(value_RN, 0, out=result_RN).sum(0)
        total_3N[1] += value_RN.sum(0)
        total_3N[2] += torch.mul(value_RN, value_RN, out=result_RN).sum(0)
    active_N += total_3N[0].long()
    sum_N += total_3N[1]
    square_N += total_3N[2]


def accumulate_experts(
    activation_SU: torch.Tensor,
    counted_S: torch.Tensor,
    end_E: torch.Tensor,
    active_EU: torch.Tensor,
    sum_EU: torch.Tensor,
    square_EU: torch.Tensor,
) -> None:
    """`accumulate` of all experts' rows, which are sorted by expert: `end_E` is where each ends.

    On a GPU no value is read back, so that it does not wait.
    """
    totals = (active_EU, sum_EU, square_EU)
    if activation_SU.is_cuda and _triton_runs(_try_experts):
        from vxdist.hooks.kernel_triton_experts import accumulate_experts_triton

        accumulate_experts_triton(activation_SU, counted_S, end_E, *totals)
    else:
        accumulate_experts_torch(activation_SU, counted_S, end_E, *totals)


@torch.no_grad()
def accumulate_experts_torch(
    activation_SU: torch.Tensor,
    counted_S: torch.Tensor,
    end_E: torch.Tensor,
    active_EU: torch.Tensor,
    sum_EU: torch.Tensor,
    square_EU: torch.Tensor,
) -> None:
    """`accumulate_experts` in plain torch, for any device."""
    rows_S, ends = _counted_rows(counted_S, end_E)
    num_experts, num_units = sum_EU.shape
    step = max(1, BLOCK // num_units)
    for first in range(0, ends[-1] if ends else 0, step):
        last = min(first + step, ends[-1])
        size = (last - first) * num_units
        room = _room(sum_EU.device, max(size, BLOCK))
        terms_3RU = room[:, :size].view(3, last - first, num_units)
        if rows_S is None:
            terms_3RU[0] = activation_SU[first:last]
        elif activation_SU.dtype == torch.float32:
            torch.index_select(activation_SU, 0, rows_S[first:last], out=terms_3RU[0])
        else:
            terms_3RU[0] = activation_SU.index_select(0, rows_S[first:last])
        torch.gt(terms_3RU[0], 0, out=terms_3RU[1])
        torch.mul(terms_3RU[0], terms_3RU[0], out=terms_3RU[2])
        part_E3U = terms_3RU.new_zeros(num_experts, 3, num_units)
        begin = 0
        for expert, end in enumerate(ends):
            here = min(end, last) - first
            if here > begin:
                torch.sum(terms_3RU[:, begin:here], 1, out=part_E3U[expert])
                begin = here
        sum_EU += part_E3U[:, 0]
        active_EU += part_E3U[:, 1].long()
        square_EU += part_E3U[:, 2]


def _counted_rows(
    counted_S: torch.Tensor, end_E: torch.Tensor
) -> tuple[torch.Tensor | None, list[int]]:
    """The rows that count (None: all), and how many of them are of each expert and before it."""
    if bool(counted_S.all()):
        return None, end_E.tolist()
    before_S = counted_S.cumsum(0)
    before_S = torch.nn.functional.pad(before_S, (1, 0))
    return counted_S.nonzero().squeeze(1), before_S[end_E.long()].tolist()


class Measured(NamedTuple):
    """A further statistic: how it is measured and combined, and its total so far, (neuron,)."""

    measure: "Measure"
    combine: Combine
    total_N: torch.Tensor


@torch.no_grad()
def accumulate_measured(
    activation_TN: torch.Tensor, counted_T: torch.Tensor, statistics: Sequence[Measured]
) -> None:
    """Combine further statistics of the counted rows into their totals, in a fixed order.

    The rows are handed to each measure in blocks, in float32; none is called without a row.
    """
    rows_T = counted_T.nonzero().squeeze(1)
    step = max(1, BLOCK // activation_TN.shape[1])
    for first in range(0, len(rows_T), step):
        block_RN = activation_TN.index_select(0, rows_T[first : first + step]).float()
        for measure, combine, total_N in statistics:
            found_N = measure(block_RN)
            assert found_N.shape == total_N.shape, f"{measure}: {found_N.shape}"
            if combine == "sum":
                total_N.add_(found_N)
            else:
                torch.maximum(total_N, found_N, out=total_N)


def _rooms(shape: tuple[int, int], like: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Room for a block as it comes, in float32, and for a result of it."""
    size = shape[0] * shape[1]
    room = _room(like.device, max(size, BLOCK))
    return (
        room[0].view(like.dtype)[:size].view(shape),
        room[1, :size].view(shape),
        room[2, :size].view(shape),
    )


@functools.cache
def _room(device: torch.device, size: int) -> torch.Tensor:
    """Memory that is kept: fresh memory costs a CPU more than adding up what is in it."""
    with torch.inference_mode(False):
        return torch.empty(3, size, dtype=torch.float32, device=device)


@functools.cache
def _triton_runs(try_one: Callable[[], None]) -> bool:
    """Whether Triton is there and can build a kernel, for which it needs a C compiler."""
    try:
        try_one()
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        warnings.warn(f"counting in plain torch, as Triton does not run: {reason}", stacklevel=2)
        return False
    return True


def _try_rows() -> None:
    from vxdist.hooks.kernel_triton import accumulate_triton

    active_N = torch.zeros(16, dtype=torch.int64, device="cuda")
    sum_2N = torch.zeros(2, 16, dtype=torch.float64, device="cuda")
    accumulate_triton(sum_2N.float(), None, active_N, sum_2N[0], sum_2N[1])


def _try_experts() -> None:
    from vxdist.hooks.kernel_triton_experts import accumulate_experts_triton

    active_EU = torch.zeros(2, 16, dtype=torch.int64, device="cuda")
    sum_2EU = torch.zeros(2, 2, 16, dtype=torch.float64, device="cuda")
    end_E = torch.ones(2, dtype=torch.int32, device="cuda")
    counted_S = torch.ones(1, dtype=torch.bool, device="cuda")
    value_SU = torch.zeros(1, 16, device="cuda")
    accumulate_experts_triton(value_SU, counted_S, end_E, active_EU, sum_2EU[0], sum_2EU[1])

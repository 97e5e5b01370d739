# mypy: disable-error-code="import-not-found,import-untyped,no-untyped-def,untyped-decorator"
"""The Triton kernel behind `vxdist.hooks.kernel`: every activation is read once.

T: token, N: neuron, S: split of the rows, B: neuron of a block, A: statistic, R: row of a warp.

A program sums `ROWS` rows of `NEURONS` neurons in float32, with each thread's own partial sums in
registers, and leaves them in a scratch tensor; a second, small kernel adds those up in float64.
No atomics: the order of every addition is fixed, by constants that do not ask the device. Loads
are 128 bits wide where the rows' addresses allow, which bf16 of any real model does.
"""

import torch
import triton
import triton.language as tl

NEURONS = tl.constexpr(256)
"""A warp reads a row of 256 bf16 in one go, 16 bytes a thread."""
LANES = tl.constexpr(4)
"""Rows that the four warps of a program read side by side."""
UNROLL = tl.constexpr(4)
"""Rows that a thread loads before it adds any: with the nine programs that fit on a multiprocessor
of an H100 (51 registers a thread), 74 KB in flight, where latency times bandwidth asks for 25 KB.
They are unrolled steps and not a dimension of the block: Triton 3.6 laid warps along that
dimension, so that every step of the loop added across warps, and took 26 times as long."""
ROWS = 256
"""For 16k rows of 14,336 neurons that is 3,584 programs, enough to fill 132 multiprocessors four
times over, and the scratch is 5% of what is read."""
SPLITS = tl.constexpr(64)
"""Rows of scratch that the second kernel adds at once, per `FINAL` neurons."""
FINAL = tl.constexpr(32)


def accumulate_triton(
    activation_TN: torch.Tensor,
    counted_T: torch.Tensor | None,
    active_N: torch.Tensor,
    sum_N: torch.Tensor,
    square_N: torch.Tensor,
) -> None:
    """`vxdist.hooks.kernel.accumulate`, on a GPU; on CPU tensors in Triton's interpreter."""
    num_rows, num_neurons = activation_TN.shape
    if num_rows == 0:
        return
    assert activation_TN.stride(1) == 1
    num_splits = triton.cdiv(num_rows, ROWS)
    scratch_ASN = sum_N.new_empty(3, num_splits, num_neurons, dtype=torch.float32)
    # Triton launches on the current device, which need not be the tensors'.
    with torch.cuda.device_of(activation_TN):
        sum_rows[(triton.cdiv(num_neurons, NEURONS.value), num_splits)](
            activation_TN,
            activation_TN if counted_T is None else counted_T.contiguous().view(torch.uint8),
            scratch_ASN,
            num_rows,
            num_neurons,
            activation_TN.stride(0),
            num_splits * num_neurons,
            SELECT=counted_T is not None,
            ROWS=ROWS,
        )
        sum_splits[(triton.cdiv(num_neurons, FINAL.value),)](
            scratch_ASN,
            active_N,
            sum_N,
            square_N,
            num_splits,
            num_neurons,
            num_splits * num_neurons,
        )


@triton.jit(do_not_specialize=["num_rows"])  # one build for any batch
def sum_rows(
    activation_TN,
    counted_T,
    scratch_ASN,
    num_rows,
    num_neurons,
    row_stride,
    statistic_stride,
    SELECT: tl.constexpr,
    ROWS: tl.constexpr,
):
    """Add up one block of rows and neurons into scratch: active, sum, square."""
    neuron_B = tl.program_id(0) * NEURONS + tl.arange(0, NEURONS)
    known_B = neuron_B < num_neurons
    split = tl.program_id(1)
    first = split.to(tl.int64) * ROWS  # 64 bits, for activations of more than 2^31 numbers
    rows_left = num_rows - split * ROWS
    activation_TN += first * row_stride
    counted_T += first
    active_RB = tl.zeros((LANES, NEURONS), tl.float32)
    sum_RB = tl.zeros((LANES, NEURONS), tl.float32)
    square_RB = tl.zeros((LANES, NEURONS), tl.float32)
    for step in range(0, ROWS, UNROLL * LANES):
        for unrolled in tl.static_range(UNROLL):
            row_R = step + unrolled * LANES + tl.arange(0, LANES)
            here_RB = (row_R < rows_left)[:, None] & known_B[None, :]
            # 32 bits do from here: ROWS rows are never 2^31 numbers apart.
            place_RB = row_R[:, None] * row_stride + neuron_B[None, :]
            value_RB = tl.load(activation_TN + place_RB, mask=here_RB, other=0.0).to(tl.float32)
            if SELECT:
                # Selected, not multiplied: NaN times nothing is NaN. Rows that do not count are
                # few, and to load them is quicker than to wait for word which they are.
                counted_R = tl.load(counted_T + row_R, mask=row_R < rows_left, other=0)
                value_RB = tl.where((counted_R != 0)[:, None], value_RB, 0.0)
            active_RB += tl.where(value_RB > 0, 1.0, 0.0)
            sum_RB += value_RB
            square_RB += value_RB * value_RB
    place_B = split.to(tl.int64) * num_neurons + neuron_B
    tl.store(scratch_ASN + place_B, tl.sum(active_RB, 0), mask=known_B)
    tl.store(scratch_ASN + statistic_stride + place_B, tl.sum(sum_RB, 0), mask=known_B)
    tl.store(scratch_ASN + 2 * statistic_stride + place_B, tl.sum(square_RB, 0), mask=known_B)


@triton.jit(do_not_specialize=["num_splits"])
def sum_splits(
    scratch_ASN,
    active_N,
    sum_N,
    square_N,
    num_splits,
    num_neurons,
    statistic_stride,
):
    """Add scratch, over its splits and in float64, to the totals."""
    neuron_B = tl.program_id(0) * FINAL + tl.arange(0, FINAL)
    known_B = neuron_B < num_neurons
    active_B = tl.zeros((FINAL,), tl.float64)
    sum_B = tl.zeros((FINAL,), tl.float64)
    square_B = tl.zeros((FINAL,), tl.float64)
    for first in range(0, num_splits, SPLITS):
        split_S = first + tl.arange(0, SPLITS)
        here_SB = (split_S < num_splits)[:, None] & known_B[None, :]
        place_SB = split_S[:, None].to(tl.int64) * num_neurons + neuron_B[None, :]
        active_SB = tl.load(scratch_ASN + place_SB, mask=here_SB, other=0.0)
        sum_SB = tl.load(scratch_ASN + statistic_stride + place_SB, mask=here_SB, other=0.0)
        square_SB = tl.load(scratch_ASN + 2 * statistic_stride + place_SB, mask=here_SB, other=0.0)
        active_B += tl.sum(active_SB.to(tl.float64), 0)
        sum_B += tl.sum(sum_SB.to(tl.float64), 0)
        square_B += tl.sum(square_SB.to(tl.float64), 0)
    active_now_B = tl.load(active_N + neuron_B, mask=known_B, other=0)
    tl.store(active_N + neuron_B, active_now_B + active_B.to(tl.int64), mask=known_B)
    sum_now_B = tl.load(sum_N + neuron_B, mask=known_B, other=0.0)
    tl.store(sum_N + neuron_B, sum_now_B + sum_B, mask=known_B)
    square_now_B = tl.load(square_N + neuron_B, mask=known_B, other=0.0)
    tl.store(square_N + neuron_B, square_now_B + square_B, mask=known_B)

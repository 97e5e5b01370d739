# mypy: disable-error-code="import-not-found,import-untyped,no-untyped-def,untyped-decorator"
"""The Triton kernels of all experts of a block in two launches, whatever tokens each was given.

S: row, sorted by expert; E: expert, U: unit, P: program row, B: unit of a program, A: statistic,
R: row of a warp.

As in `kernel_triton` a program sums some rows and units in float32 into scratch, and a second
kernel adds that up in float64; but a program's rows are those of one expert. How many each expert
has only the device knows, and is not asked: there are as many programs as the most unequal routing
needs, and those left over return at once. No atomics: the order of every addition is fixed.
"""

import torch
import triton
import triton.language as tl

UNITS = tl.constexpr(256)
"""A warp reads a row of 256 bf16 in one go, 16 bytes a thread."""
LANES = tl.constexpr(4)
"""Rows that the four warps of a program read side by side."""
UNROLL = tl.constexpr(4)
"""Rows that a thread loads before it adds any; see `kernel_triton`."""
ROWS = 256
"""With 128 experts of 8 to a token, and 16k tokens, an expert has 1,024 rows."""
FINAL = tl.constexpr(64)
"""Units that a program of the second kernel adds up."""
SPLITS = tl.constexpr(16)
"""Rows of scratch that it reads at once."""


def accumulate_experts_triton(
    activation_SU: torch.Tensor,
    counted_S: torch.Tensor,
    end_E: torch.Tensor,
    active_EU: torch.Tensor,
    sum_EU: torch.Tensor,
    square_EU: torch.Tensor,
) -> None:
    """`vxdist.hooks.kernel.accumulate_experts`, on a GPU; on CPU tensors in the interpreter."""
    num_rows, num_units = activation_SU.shape
    if num_rows == 0:
        return
    assert activation_SU.stride(1) == 1
    num_experts = len(end_E)
    num_programs = triton.cdiv(num_rows, ROWS) + num_experts
    programs_E = (torch.diff(end_E, prepend=end_E.new_zeros(1)) + (ROWS - 1)) // ROWS
    programs_E = torch.cumsum(programs_E, 0, dtype=torch.int32)
    program_P = torch.arange(num_programs, device=end_E.device, dtype=torch.int32)
    expert_P = torch.searchsorted(programs_E, program_P, right=True, out_int32=True)
    scratch_APU = torch.empty(
        3, num_programs, num_units, dtype=torch.float32, device=activation_SU.device
    )
    # Triton launches on the current device, which need not be the tensors'.
    with torch.cuda.device_of(activation_SU):
        sum_expert_rows[(triton.cdiv(num_units, UNITS.value), num_programs)](
            activation_SU,
            counted_S.contiguous().view(torch.uint8),
            end_E,
            programs_E,
            expert_P,
            scratch_APU,
            num_experts,
            num_units,
            activation_SU.stride(0),
            num_programs * num_units,
            ROWS=ROWS,
        )
        sum_expert_splits[(triton.cdiv(num_units, FINAL.value), num_experts)](
            scratch_APU,
            programs_E,
            active_EU,
            sum_EU,
            square_EU,
            num_units,
            num_programs * num_units,
        )


@triton.jit
def sum_expert_rows(
    activation_SU,
    counted_S,
    end_E,
    programs_E,
    expert_P,
    scratch_APU,
    num_experts,
    num_units,
    row_stride,
    statistic_stride,
    ROWS: tl.constexpr,
):
    """Add up one block of an expert's rows and units into scratch: active, sum, square."""
    program = tl.program_id(1)
    expert = tl.load(expert_P + program)
    if expert < num_experts:
        unit_B = tl.program_id(0) * UNITS + tl.arange(0, UNITS)
        known_B = unit_B < num_units
        begin = tl.load(end_E + expert - 1, mask=expert > 0, other=0)
        before = tl.load(programs_E + expert - 1, mask=expert > 0, other=0)
        first = begin + (program - before) * ROWS
        rows_left = tl.load(end_E + expert) - first
        value_SU = activation_SU + first.to(tl.int64) * row_stride  # may be above 2^31 numbers
        counts_S = counted_S + first
        active_RB = tl.zeros((LANES, UNITS), tl.float32)
        sum_RB = tl.zeros((LANES, UNITS), tl.float32)
        square_RB = tl.zeros((LANES, UNITS), tl.float32)
        for step in range(0, ROWS, UNROLL * LANES):
            for unrolled in tl.static_range(UNROLL):
                row_R = step + unrolled * LANES + tl.arange(0, LANES)
                here_RB = (row_R < rows_left)[:, None] & known_B[None, :]
                place_RB = row_R[:, None] * row_stride + unit_B[None, :]
                value_RB = tl.load(value_SU + place_RB, mask=here_RB, other=0.0)
                # Selected, not multiplied: NaN times nothing is NaN.
                counted_R = tl.load(counts_S + row_R, mask=row_R < rows_left, other=0)
                value_RB = tl.where((counted_R != 0)[:, None], value_RB.to(tl.float32), 0.0)
                active_RB += tl.where(value_RB > 0, 1.0, 0.0)
                sum_RB += value_RB
                square_RB += value_RB * value_RB
        place_B = program.to(tl.int64) * num_units + unit_B
        tl.store(scratch_APU + place_B, tl.sum(active_RB, 0), mask=known_B)
        tl.store(scratch_APU + statistic_stride + place_B, tl.sum(sum_RB, 0), mask=known_B)
        tl.store(scratch_APU + 2 * statistic_stride + place_B, tl.sum(square_RB, 0), mask=known_B)


@triton.jit
def sum_expert_splits(
    scratch_APU,
    programs_E,
    active_EU,
    sum_EU,
    square_EU,
    num_units,
    statistic_stride,
):
    """Add an expert's rows of scratch, in float64, to its totals."""
    expert = tl.program_id(1)
    unit_B = tl.program_id(0) * FINAL + tl.arange(0, FINAL)
    known_B = unit_B < num_units
    first = tl.load(programs_E + expert - 1, mask=expert > 0, other=0)
    last = tl.load(programs_E + expert)
    active_B = tl.zeros((FINAL,), tl.float64)
    sum_B = tl.zeros((FINAL,), tl.float64)
    square_B = tl.zeros((FINAL,), tl.float64)
    while first < last:
        program_P = first + tl.arange(0, SPLITS)
        here_PB = (program_P < last)[:, None] & known_B[None, :]
        place_PB = program_P[:, None].to(tl.int64) * num_units + unit_B[None, :]
        active_PB = tl.load(scratch_APU + place_PB, mask=here_PB, other=0.0)
        sum_PB = tl.load(scratch_APU + statistic_stride + place_PB, mask=here_PB, other=0.0)
        square_PB = tl.load(scratch_APU + 2 * statistic_stride + place_PB, mask=here_PB, other=0.0)
        active_B += tl.sum(active_PB.to(tl.float64), 0)
        sum_B += tl.sum(sum_PB.to(tl.float64), 0)
        square_B += tl.sum(square_PB.to(tl.float64), 0)
        first += SPLITS
    place_B = expert.to(tl.int64) * num_units + unit_B
    active_now_B = tl.load(active_EU + place_B, mask=known_B, other=0)
    tl.store(active_EU + place_B, active_now_B + active_B.to(tl.int64), mask=known_B)
    sum_now_B = tl.load(sum_EU + place_B, mask=known_B, other=0.0)
    tl.store(sum_EU + place_B, sum_now_B + sum_B, mask=known_B)
    square_now_B = tl.load(square_EU + place_B, mask=known_B, other=0.0)
    tl.store(square_EU + place_B, square_now_B + square_B, mask=known_B)

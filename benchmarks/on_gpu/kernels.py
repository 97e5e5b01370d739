"""The counting kernel on its own, compared with float64 and with the device's copy bandwidth.

T: token, N: neuron.
"""

import os
from collections.abc import Callable
from typing import Any

import torch

from on_gpu.measure import copy_rate, free_memory, median_seconds
from vxdist.hooks.kernel import ERROR, accumulate_torch

SHAPES = {"Llama-3.1-8B": (16_384, 14_336), "Qwen2.5-32B": (16_384, 27_648)}
"""Tokens per batch, and neurons per layer."""
TINY = {"tiny": (70, 272)}
Totals = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


def measure_kernels(device: torch.device, tiny: bool) -> dict[str, Any]:
    """Time, bandwidth and largest error for each shape, with all rows counted and with some."""
    copied = copy_rate(device, 2**20 if tiny else 2**32)
    result: dict[str, Any] = {
        "copy_gigabytes_per_second": round(copied / 1e9, 1),
        "error_allowed": ERROR,
    }
    for name, (tokens, neurons) in (TINY if tiny else SHAPES).items():
        value_TN = torch.randn(tokens, neurons, device=device).bfloat16()
        some_T = torch.rand(tokens, device=device) < 0.95
        for rows, counted_T in (("all", None), ("95%", some_T)):
            shape = {"tokens": tokens, "neurons": neurons, "counted": rows}
            ways = {way: _measure(run, value_TN, counted_T, copied) for way, run in _ways(device)}
            result[f"{name}, {rows}"] = {**shape, **ways}
        del value_TN
        free_memory(device)
    return result


def _ways(device: torch.device) -> list[tuple[str, Callable[..., None]]]:
    """Plain torch and, on a GPU or in the interpreter, Triton."""
    ways: list[tuple[str, Callable[..., None]]] = [("torch", accumulate_torch)]
    if device.type == "cuda" or os.environ.get("TRITON_INTERPRET") == "1":
        from vxdist.hooks.kernel_triton import accumulate_triton

        ways.append(("triton", accumulate_triton))
    return ways


def _measure(
    run: Callable[..., None],
    value_TN: torch.Tensor,
    counted_T: torch.Tensor | None,
    copied: float,
) -> dict[str, Any]:
    found = _zeros(value_TN)
    run(value_TN, counted_T, *found)
    expected, sizes = _exact(value_TN, counted_T)
    errors = [((found[n] - expected[n]).abs() / sizes[n]).max() for n in (1, 2)]
    again = _zeros(value_TN)
    seconds = median_seconds(lambda: run(value_TN, counted_T, *again), value_TN.device, 20)
    return {
        "microseconds": round(seconds * 1e6, 1),
        "gigabytes_read_per_second": round(value_TN.nbytes / seconds / 1e9, 1),
        "share_of_copy_bandwidth": round(value_TN.nbytes / seconds / copied, 4),
        "counts_exact": torch.equal(found[0], expected[0]),
        "largest_error": float(f"{float(max(errors)):.2e}"),
    }


def _zeros(value_TN: torch.Tensor) -> Totals:
    active_N = torch.zeros(value_TN.shape[1], dtype=torch.int64, device=value_TN.device)
    return active_N, active_N.double(), active_N.double()


def _exact(value_TN: torch.Tensor, counted_T: torch.Tensor | None) -> tuple[Totals, Totals]:
    """The statistics in float64, and the sums of absolute values, relative to which errors are."""
    exact_TN = (value_TN if counted_T is None else value_TN[counted_T]).double()
    active_N, sum_N = (exact_TN > 0).sum(0), exact_TN.sum(0)
    size_N = exact_TN.abs_().sum(0)
    square_N = exact_TN.square_().sum(0)
    return (active_N, sum_N, square_N), (active_N, size_N, square_N)

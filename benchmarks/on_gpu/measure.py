"""Timing, peak rates and profiles of a device."""

import datetime
import gc
import itertools
import platform
import re
import statistics
import sys
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

PACKAGES = ("vxdist", "torch", "triton", "transformers", "lightning", "deepspeed", "zarr", "numpy")


def describe(device: torch.device) -> dict[str, Any]:
    """Device, versions and date."""
    result: dict[str, Any] = {"date": datetime.datetime.now(datetime.UTC).isoformat("T", "minutes")}
    if device.type == "cuda":
        seen = torch.cuda.get_device_properties(device)
        result["device"] = {
            "name": seen.name,
            "gigabytes": round(seen.total_memory / 1e9, 1),
            "multiprocessors": seen.multi_processor_count,
            "capability": f"{seen.major}.{seen.minor}",
        }
    else:
        result["device"] = {"name": f"{platform.machine()} CPU", "threads": torch.get_num_threads()}
    result["versions"] = {"python": platform.python_version(), "cuda": torch.version.cuda}
    for package in PACKAGES:
        try:
            result["versions"][package] = version(package)
        except PackageNotFoundError:
            result["versions"][package] = None
    return result


def wait(device: torch.device) -> None:
    """Wait until the device has finished its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seconds_of(run: Callable[[], Any], device: torch.device) -> float:
    """Seconds that one call takes, including the work of the device."""
    wait(device)
    began = time.perf_counter()
    run()
    wait(device)
    return time.perf_counter() - began


def median_seconds(run: Callable[[], Any], device: torch.device, repeats: int) -> float:
    """Median time of `repeats` calls after two to warm up, by the device's clock."""
    for _ in range(2):
        run()
    if device.type != "cuda":
        return statistics.median(seconds_of(run, device) for _ in range(repeats))
    marks = [torch.cuda.Event(enable_timing=True) for _ in range(repeats + 1)]
    marks[0].record()
    for mark in marks[1:]:
        run()
        mark.record()
    wait(device)
    pairs = itertools.pairwise(marks)
    return statistics.median(float(a.elapsed_time(b)) for a, b in pairs) / 1e3


def matrix_rate(device: torch.device, size: int) -> float:
    """Operations per second of a bf16 product of square random matrices."""
    a, b = (torch.randn(size, size, device=device, dtype=torch.bfloat16) for _ in range(2))
    out = torch.empty_like(a)
    return 2 * size**3 / median_seconds(lambda: torch.mm(a, b, out=out), device, 20)


def copy_rate(device: torch.device, size: int) -> float:
    """Bytes per second of a copy on the device, counting both reads and writes."""
    source = torch.randint(127, (size,), device=device, dtype=torch.int8)
    target = torch.empty_like(source)
    return 2 * size / median_seconds(lambda: target.copy_(source), device, 20)


def peak_gigabytes(device: torch.device) -> float | None:
    """Peak memory since `forget_peak`; None on a CPU."""
    if device.type != "cuda":
        return None
    return round(torch.cuda.max_memory_allocated(device) / 1e9, 2)


def forget_peak(device: torch.device) -> None:
    """Start a new peak."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def free_memory(device: torch.device) -> None:
    """Free memory that nothing refers to."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


def profiled(run: Callable[[], Any], device: torch.device, rows: int = 15) -> list[dict[str, Any]]:
    """The operations of one call that took longest on the device; a table goes to stderr."""
    averages, kind = _averages(run, device)
    print(averages.table(sort_by=kind, row_limit=rows, max_name_column_width=80), file=sys.stderr)
    return _longest(averages, kind, device)[:rows]


KINDS = {
    "fused by torch.compile": re.compile(r"^triton_|cpp_fused"),
    "attention": re.compile(r"flash|fmha|sdpa|attention|attn|softmax", re.IGNORECASE),
    "counting": re.compile(r"sum_rows|sum_splits|vxdist::"),
    "products": re.compile(r"nvjet|gemm|cublas|cutlass|xmma|aten::(add)?mm|splitK", re.IGNORECASE),
    "copies": re.compile(r"memcpy|memset|copy", re.IGNORECASE),
}
"""What an operation is, by its name; the first that fits."""


RANGES = re.compile(r"## Call|Torch-Compiled Region|ProfilerStep|Pregraph")
"""Names of marked ranges, which are no operations but hold some."""


def shares(run: Callable[[], Any], device: torch.device, rows: int = 12) -> dict[str, Any]:
    """One call in milliseconds of the device by kind of operation, its gaps, and the longest.

    Gaps are the time of the call in which no operation was counted: the device waits for the host.
    """
    wall = seconds_of(run, device) * 1e3
    averages, kind = _averages(run, device)
    longest = _longest(averages, kind, device)
    milliseconds = dict.fromkeys((*KINDS, "rest"), 0.0)
    for row in longest:
        found = (name for name, pattern in KINDS.items() if pattern.search(row["name"]))
        milliseconds[next(found, "rest")] += row["milliseconds"]
    busy = sum(milliseconds.values())
    return {
        "wall_milliseconds": round(wall, 2),
        "milliseconds": {name: round(took, 2) for name, took in milliseconds.items()},
        "gaps_milliseconds": round(wall - busy, 2),
        "longest": longest[:rows],
    }


def _averages(run: Callable[[], Any], device: torch.device) -> tuple[Any, str]:
    """A profile of one call, and the name of the time in question."""
    activities = [ProfilerActivity.CPU]
    if device.type == "cuda":
        activities.append(ProfilerActivity.CUDA)
    with profile(activities=activities) as seen:
        run()
        wait(device)
    kind = "self_device_time_total" if device.type == "cuda" else "self_cpu_time_total"
    return seen.key_averages(), kind


def _longest(averages: Any, kind: str, device: torch.device) -> list[dict[str, Any]]:
    """All operations on the device, the longest first."""
    # A kernel's time is also listed under the operation that launched it.
    events = [
        event
        for event in averages
        if event.device_type.name == device.type.upper() and not RANGES.match(event.key)
    ]
    total = sum(getattr(event, kind) for event in events)
    return [
        {
            "name": event.key[:120],
            "calls": event.count,
            "milliseconds": round(getattr(event, kind) / 1e3, 3),
            "share": round(getattr(event, kind) / total, 4),
        }
        for event in sorted(events, key=lambda event: -getattr(event, kind))
    ]

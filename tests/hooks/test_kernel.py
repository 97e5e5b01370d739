"""The statistics of activations, by torch and by the Triton kernel, against float64.

Without a GPU the kernel runs in Triton's interpreter, in a process of its own: the interpreter is
chosen when triton is imported.
"""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from vxdist.hooks import kernel

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
ROADS = ["torch", *(["triton"] if INTERPRETED or torch.cuda.is_available() else [])]
Statistics = tuple[torch.Tensor, torch.Tensor, torch.Tensor]
Accumulate = Callable[[torch.Tensor, torch.Tensor | None], Statistics]


@pytest.fixture(params=ROADS)
def accumulate(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Accumulate:
    """One road, with small blocks, from (activation_TN, counted_T) to what it adds to 3 and 0.5."""
    road: Any = kernel.accumulate_torch
    device = "cpu"
    if request.param == "triton":
        from vxdist.hooks import kernel_triton

        road = kernel_triton.accumulate_triton
        device = "cpu" if INTERPRETED else "cuda"
        monkeypatch.setattr(kernel_triton, "ROWS", 32)
    monkeypatch.setattr(kernel, "BLOCK", 4096)

    def run(activation_TN: torch.Tensor, counted_T: torch.Tensor | None) -> Statistics:
        num_neurons = activation_TN.shape[1]
        active_N = torch.full((num_neurons,), 3, dtype=torch.int64, device=device)
        sum_2N = torch.full((2, num_neurons), 0.5, dtype=torch.float64, device=device)
        # Moving a view would copy it, and lose its strides.
        there = activation_TN if device == "cpu" else _move(activation_TN, device)
        road(there, None if counted_T is None else counted_T.to(device), active_N, *sum_2N)
        return (active_N - 3).cpu(), (sum_2N[0] - 0.5).cpu(), (sum_2N[1] - 0.5).cpu()

    return run


def _move(view_TN: torch.Tensor, device: str) -> torch.Tensor:
    storage = torch.empty(0, dtype=view_TN.dtype).set_(view_TN.untyped_storage()).to(device)
    return storage.as_strided(view_TN.shape, view_TN.stride(), view_TN.storage_offset())


def random(rows: int, neurons: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(rows, neurons, generator=torch.Generator().manual_seed(seed))


def check(got: Statistics, value_TN: torch.Tensor) -> None:
    """Counts must be exact, and sums as near to float64 as is promised."""
    value_TN = value_TN.double()
    assert torch.equal(got[0], (value_TN > 0).sum(0))
    for got_N, terms_TN in ((got[1], value_TN), (got[2], value_TN.square())):
        allowed_N = kernel.ERROR * terms_TN.abs().sum(0) + 1e-12
        assert ((got_N - terms_TN.sum(0)).abs() <= allowed_N).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("share", [None, 0.9], ids=["all rows", "some rows"])
def test_statistics_equal_those_in_float64(
    accumulate: Accumulate, dtype: torch.dtype, share: float | None
) -> None:
    fused_TN = (random(101, 2 * 272) + 0.5).to(dtype)
    gate_TN = fused_TN[:, 272:]  # half of a fused projection: rows lie apart
    counted_T = None if share is None else torch.rand(101, generator=torch.manual_seed(1)) < share
    got = accumulate(gate_TN, counted_T)
    check(got, gate_TN if counted_T is None else gate_TN[counted_T])


def test_many_rows_lose_no_precision(accumulate: Accumulate) -> None:
    value_TN = random(2500, 5) / 1000 + 100.1
    exact_N = value_TN.double().sum(0)
    plain_N = torch.zeros(5)
    for value_N in value_TN:
        plain_N += value_N
    assert ((plain_N - exact_N).abs() > kernel.ERROR * exact_N).all()  # so the test can fail
    check(accumulate(value_TN, None), value_TN)


def test_the_same_bits_every_time(accumulate: Accumulate) -> None:
    value_TN, counted_T = random(200, 300), torch.arange(200) % 7 != 0
    first, second = accumulate(value_TN, counted_T), accumulate(value_TN, counted_T)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("poison", [float("nan"), float("inf"), -float("inf")])
def test_what_is_not_finite_shows_if_its_row_counts(accumulate: Accumulate, poison: float) -> None:
    value_TN, counted_T = random(40, 20), torch.ones(40, dtype=torch.bool)
    value_TN[17, 4] = poison
    shown = accumulate(value_TN, counted_T)
    for sum_N in shown[1:]:
        assert not torch.isfinite(sum_N[4])
        assert torch.isfinite(sum_N).sum() == 19
    counted_T[17] = False
    check(accumulate(value_TN, counted_T), value_TN[counted_T])


@pytest.mark.parametrize("rows", [0, 6])
def test_without_counted_rows_nothing_is_added(accumulate: Accumulate, rows: int) -> None:
    got = accumulate(random(rows, 20), torch.zeros(rows, dtype=torch.bool))
    assert not any(total_N.any() for total_N in got)


def test_inference_mode_leaves_no_trace(accumulate: Accumulate) -> None:
    """The workspace is kept from call to call, in and out of inference mode."""
    with torch.inference_mode():
        accumulate(random(30, 33), torch.arange(30) > 3)
    value_TN = random(30, 33).requires_grad_()
    check(accumulate(value_TN, None), value_TN.detach())


@pytest.mark.skipif(INTERPRETED, reason="runs the interpreter itself")
def test_the_kernel_passes_these_tests_in_the_interpreter() -> None:
    pytest.importorskip("triton")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-k", "triton", "-p", "no:cacheprovider", __file__],
        env={**os.environ, "TRITON_INTERPRET": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"\b1[0-9] passed", done.stdout)
    assert "skipped" not in done.stdout


@pytest.mark.skipif(INTERPRETED, reason="the interpreter compiles nothing")
@pytest.mark.parametrize("capability", [80, 90])
def test_the_kernel_compiles_with_wide_loads_and_without_spills(
    capability: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ahead of time, for A100 and H100, with what their launcher would find out of bf16 models."""
    compiler = pytest.importorskip("triton.compiler")
    backends = pytest.importorskip("triton.backends.compiler")
    from vxdist.hooks import kernel_triton as source

    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    pointers = {"activation_TN": "*bf16", "counted_T": "*u8", "scratch_ASN": "*fp32"}
    numbers = dict.fromkeys(["num_rows", "num_neurons", "row_stride", "statistic_stride"], "i32")
    constants = {"SELECT": True, "ROWS": source.ROWS}
    names = list(source.sum_rows.arg_names)
    aligned = [*pointers, "num_neurons", "row_stride", "statistic_stride"]
    built = compiler.compile(
        compiler.ASTSource(
            source.sum_rows,
            signature={**pointers, **numbers, **dict.fromkeys(constants, "constexpr")},
            constexprs=constants,
            attrs={(names.index(name),): [["tt.divisibility", 16]] for name in aligned},
        ),
        target=backends.GPUTarget("cuda", capability, 32),
    )
    ptx = built.asm["ptx"]
    assert len(re.findall(r"ld\.global\.v4\.b32", ptx)) == source.UNROLL.value
    assert set(re.findall(r"ld\.global\S*", ptx)) == {"ld.global.v4.b32", "ld.global.b8"}
    assert ".local" not in ptx
    loop = re.search(r"(\$L__BB0_\d+):.*?bra(?:\.uni)?\s+\1;", ptx, re.DOTALL)
    assert loop is not None
    # Each thread adds on its own in the loop: waiting for others there made it 26 times as slow.
    assert not re.search(r"bar\.sync|shared|shfl", loop[0])

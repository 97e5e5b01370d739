"""The statistics of all experts at once, by torch and by the Triton kernels, against float64.

Without a GPU the kernels run in Triton's interpreter, in a process of its own.
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
Accumulate = Callable[[torch.Tensor, torch.Tensor, list[int]], Statistics]
SIZES = [40, 0, 1, 33, 0, 64, 3, 0]
"""Rows of each expert: none, few, and more than a program takes."""


@pytest.fixture(params=ROADS)
def accumulate(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Accumulate:
    """One road, with small blocks; returns what is added to 3 and 0.5."""
    road: Any = kernel.accumulate_experts_torch
    device = "cpu"
    if request.param == "triton":
        from vxdist.hooks import kernel_triton_experts

        road = kernel_triton_experts.accumulate_experts_triton
        device = "cpu" if INTERPRETED else "cuda"
        monkeypatch.setattr(kernel_triton_experts, "ROWS", 32)
    monkeypatch.setattr(kernel, "BLOCK", 4096)

    def run(activation_SU: torch.Tensor, counted_S: torch.Tensor, sizes: list[int]) -> Statistics:
        shape = (len(sizes), activation_SU.shape[1])
        active_EU = torch.full(shape, 3, dtype=torch.int64, device=device)
        sum_2EU = torch.full((2, *shape), 0.5, dtype=torch.float64, device=device)
        end_E = torch.tensor(sizes, device=device).cumsum(0).int()
        there = (activation_SU.to(device), counted_S.to(device), end_E)
        road(*there, active_EU, sum_2EU[0], sum_2EU[1])
        return (active_EU - 3).cpu(), (sum_2EU[0] - 0.5).cpu(), (sum_2EU[1] - 0.5).cpu()

    return run


def random(rows: int, units: int) -> torch.Tensor:
    return torch.randn(rows, units, generator=torch.Generator().manual_seed(0)) + 0.3


def check(got: Statistics, value_SU: torch.Tensor, counted_S: torch.Tensor) -> None:
    """Counts are exact, and sums as near to float64 as is promised, of each expert."""
    parts = zip(value_SU.double().split(SIZES), counted_S.split(SIZES), strict=True)
    for expert, (part_RU, counted_R) in enumerate(parts):
        kept_RU = part_RU[counted_R]
        assert torch.equal(got[0][expert], (kept_RU > 0).sum(0))
        for got_EU, terms_RU in ((got[1], kept_RU), (got[2], kept_RU.square())):
            allowed_U = kernel.ERROR * terms_RU.abs().sum(0) + 1e-12
            assert ((got_EU[expert] - terms_RU.sum(0)).abs() <= allowed_U).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("share", [1.0, 0.8, 0.0], ids=["all rows", "some rows", "no row"])
def test_statistics_of_each_expert_equal_those_in_float64(
    accumulate: Accumulate, dtype: torch.dtype, share: float
) -> None:
    value_SU = random(sum(SIZES), 272).to(dtype)
    counted_S = torch.rand(sum(SIZES), generator=torch.Generator().manual_seed(1)) < share
    check(accumulate(value_SU, counted_S, SIZES), value_SU, counted_S)


def test_half_of_a_fused_projection(accumulate: Accumulate) -> None:
    value_SU = random(sum(SIZES), 80)[:, :40]
    counted_S = torch.arange(sum(SIZES)) % 3 > 0
    check(accumulate(value_SU, counted_S, SIZES), value_SU, counted_S)


@pytest.mark.parametrize("sizes", [[70], [0, 70], [70, 0, 0], [1] * 70], ids=str)
def test_any_routing(accumulate: Accumulate, sizes: list[int]) -> None:
    value_SU = random(70, 20)
    got = accumulate(value_SU, torch.ones(70, dtype=torch.bool), sizes)
    expected_EU = torch.stack([(part > 0).sum(0) for part in value_SU.split(sizes)])
    assert torch.equal(got[0], expected_EU)


def test_no_row_at_all(accumulate: Accumulate) -> None:
    got = accumulate(torch.zeros(0, 20), torch.zeros(0, dtype=torch.bool), [0, 0])
    assert not any(total_EU.any() for total_EU in got)


def test_the_same_bits_every_time(accumulate: Accumulate) -> None:
    value_SU, counted_S = random(sum(SIZES), 300), torch.arange(sum(SIZES)) % 7 != 0
    first, second = (accumulate(value_SU, counted_S, SIZES) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_what_is_not_finite_shows_if_its_row_counts(accumulate: Accumulate) -> None:
    value_SU, counted_S = random(sum(SIZES), 20), torch.ones(sum(SIZES), dtype=torch.bool)
    value_SU[45, 4] = float("nan")  # of expert 3
    for sum_EU in accumulate(value_SU, counted_S, SIZES)[1:]:
        assert (~torch.isfinite(sum_EU)).nonzero().tolist() == [[3, 4]]
    counted_S[45] = False
    check(accumulate(value_SU, counted_S, SIZES), value_SU, counted_S)


@pytest.mark.long
@pytest.mark.skipif(INTERPRETED or torch.cuda.is_available(), reason="Triton runs here")
def test_triton_in_the_interpreter() -> None:
    pytest.importorskip("triton")
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "triton", __file__],
        env=os.environ | {"TRITON_INTERPRET": "1"},
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[2],
    )
    assert run.returncode == 0, run.stdout[-3000:]
    assert re.search(r"\b1[0-9] passed", run.stdout)


@pytest.mark.skipif(INTERPRETED, reason="the interpreter compiles nothing")
@pytest.mark.parametrize("capability", [80, 90])
def test_the_kernels_compile_with_wide_loads_and_without_spills(
    capability: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ahead of time, for A100 and H100, with what their launcher would find out of bf16 models."""
    compiler = pytest.importorskip("triton.compiler")
    backends = pytest.importorskip("triton.backends.compiler")
    from vxdist.hooks import kernel_triton_experts as source

    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    pointers = {
        "activation_SU": "*bf16", "counted_S": "*u8", "end_E": "*i32", "programs_E": "*i32",
        "expert_P": "*i32", "scratch_APU": "*fp32", "active_EU": "*i64", "sum_EU": "*fp64",
        "square_EU": "*fp64",
    }  # fmt: skip
    ptx = {}
    for kernel_function in (source.sum_expert_rows, source.sum_expert_splits):
        names = list(kernel_function.arg_names)
        constants = {"ROWS": source.ROWS} if "ROWS" in names else {}
        kinds = {name: pointers.get(name, "i32") for name in names if name not in constants}
        built = compiler.compile(
            compiler.ASTSource(
                kernel_function,
                signature={**kinds, **dict.fromkeys(constants, "constexpr")},
                constexprs=constants,
                attrs={
                    (n,): [["tt.divisibility", 16]]
                    for n, name in enumerate(names)
                    if name not in (*constants, "num_experts", "counted_S")
                },
            ),
            target=backends.GPUTarget("cuda", capability, 32),
        )
        ptx[kernel_function.__name__] = built.asm["ptx"]
        assert ".local" not in built.asm["ptx"]
    rows = ptx["sum_expert_rows"]
    assert len(re.findall(r"ld\.global\.v4\.b32", rows)) == source.UNROLL.value
    # Each thread adds on its own in the loop: see test_kernel.py.
    loop = _loop(rows)
    assert "ld.global.v4.b32" in loop
    assert not re.search(r"bar\.sync|shared|shfl", loop)


def _loop(ptx: str) -> str:
    """The innermost code that ends with a jump back to its begin."""
    found = []
    for label in re.findall(r"^(\$L__BB0_\d+):", ptx, re.MULTILINE):
        rest = ptx[ptx.index(f"{label}:") :]
        back = re.search(rf"bra(?:\.uni)?\s+{re.escape(label)};", rest)
        found += [rest[: back.end()]] if back else []
    return min(found, key=len)

"""What the benchmark of model types calls proven is, and what is not, it does not."""

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
PROVEN = [
    row["type"]
    for file in sorted(BENCHMARKS.glob("results/*-coverage-cpu.json"))[-1:]
    for row in json.loads(file.read_text())["types"]
    if row["proven"]
]
QUICK = (
    *("aria_text", "cohere2", "dbrx", "falcon_h1", "flex_olmo", "gpt2", "mllama", "nemotron_h"),
    *("openai-gpt", "phi3", "zamba2"),
)


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The parts of the benchmark import each other as scripts do."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    yield
    for name in [n for n in sys.modules if n.split(".")[0] in ("covered", "coverage")]:
        del sys.modules[name]


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[] if n in QUICK else [pytest.mark.long]) for n in PROVEN]
)
def test_what_was_proven_still_is(name: str) -> None:
    from covered.proof import prove

    row = prove(name)
    assert row["proven"], row


@pytest.mark.parametrize(
    ("name", "last", "why"),
    [
        ("bitnet", "accepted", "not a sum over its neurons"),
        ("inkling2_text", "built", "is none of the forms"),
        ("mamba", "built", "is not supported"),
    ],
)
def test_what_is_not_is_told(name: str, last: str, why: str) -> None:
    from covered.proof import STEPS, prove

    row = prove(name)
    assert [step for step in STEPS if row[step]][-1] == last
    assert why in row["why"]
    assert not row["proven"]


def test_a_wrong_count_and_a_touched_logit_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    from covered import plain, proof

    monkeypatch.setitem(plain.FUNCTIONS, "SiLUActivation", lambda x: -x)
    row = proof.prove("llama")
    assert (row["unchanged"], row["counts"]) == (True, False)
    assert "counts differ from a plain recomputation" in row["why"]
    monkeypatch.setattr(proof.Counter, "_see", lambda _, __, activation, *___: activation * 1.001)
    row = proof.prove("llama")
    assert (row["self_test"], row["unchanged"]) == (True, False)
    assert row["why"] == "counting changes the logits"


def test_a_mask_that_is_no_zero_column_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    from covered import proof

    def other(points: Any, layer: int, neurons: Any) -> None:
        with torch.no_grad():
            output = next(of.output for of in points.blocks if of.layer == layer)
            output.weight.data[:, [n + 1 for n in neurons]] = 0

    monkeypatch.setattr(proof, "zero_column", other)
    row = proof.prove("llama")
    assert (row["counts"], row["mask"]) == (True, False)
    assert "from those of zeroed columns" in row["why"]


def test_types_have_a_clock_and_may_die() -> None:
    import os

    from coverage import prove_each

    def prover(name: str) -> dict[str, Any]:
        if name == "llama":
            time.sleep(60)
        if name == "opt":
            os._exit(3)
        return {"type": name, "proven": True}

    slow, dead, right = prove_each(["llama", "opt", "gpt2"], 0.5, prover)
    assert slow["why"] == "not done in 0.5 s"
    assert dead["why"] == "its process ended with 3"
    assert right["proven"]
    assert not slow["proven"]


def test_a_run_goes_on_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    import coverage

    out, asked = tmp_path / "coverage.json", []

    def prove_each(names: list[str], _: float) -> Iterator[dict[str, Any]]:
        asked.append(list(names))
        for name in names:
            steps = dict.fromkeys(coverage.STEPS, True)
            yield {"type": name, "kind": "decoder", **steps, "proven": True}

    monkeypatch.setattr(coverage, "prove_each", prove_each)
    for types in (["llama"], ["llama", "qwen3"]):
        monkeypatch.setattr(sys, "argv", ["coverage.py", "--out", str(out), "--types", *types])
        coverage.main()
    assert asked == [["llama"], ["qwen3"]]
    shares = json.loads(out.read_text())["shares"]
    assert shares["by_kind"]["decoder"]["proven"] == 2
    # Llama 14, Qwen3 12, Yi 0.5; half of R1 distilled (3), SmolLM (2) and Falcon (0.5).
    assert shares["usage"]["points"] == pytest.approx(14 + 12 + 0.5 + 1.5 + 1 + 0.25)
    assert "| llama | decoder | yes" in out.with_suffix(".md").read_text()
    found = json.loads(out.read_text())
    out.write_text(json.dumps(found | {"versions": {}}))
    with pytest.raises(SystemExit, match="other versions"):
        coverage.main()
    assert "points" in capsys.readouterr().out

"""Size of a store, estimate, is that of stores that were written."""

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tests.reduce.stores import write_record
from tests.stats.generators import overdispersed
from vxdist.asking.outcomes.choice import Choice
from vxdist.cli import main
from vxdist.config import ModelConfig
from vxdist.estimate.assumptions import Assumptions
from vxdist.estimate.disk import measure_store
from vxdist.model.load import describe_model
from vxdist.model.source import find_config
from vxdist.reduce.score import write_score
from vxdist.reduce.selectors.claimed import Contrast, ContrastSettings
from vxdist.reduce.selectors.vape import Vape

ROOT = Path(__file__).parents[2]


def test_a_store_of_llama_70b_with_768_parts() -> None:
    """The one that benchmarks/store.py wrote, with one score and no evaluation."""
    file = ROOT / "benchmarks" / "results" / "2026-11-23-store-cpu.json"
    written = json.loads(file.read_text())
    source = find_config(ModelConfig(path=str(ROOT / "docs/models/Llama-3.1-70B-Instruct")))
    groups = measure_store(
        describe_model(source),
        values=12,
        languages=2,
        parts=written["parts"],
        conditions=0,
        masks=0,
        controls=0,
        dilemmas=0,
        selector=Vape,
        outcome=Choice,
        assume=Assumptions(),
    )
    seals = written["parts"] + 1  # one each, and their metadata: that store is older than they are
    assert sum(group.objects for group in groups) == written["store"]["objects"] + seals
    size = sum(group.on_disk for group in groups)
    assert size == pytest.approx(written["store"]["bytes"], rel=0.01)


@pytest.mark.parametrize(
    ("family", "controls"), [("llama", 2), ("mixtral", 2), ("llama", 0), ("deepseek_v3", 2)]
)
def test_every_object_of_a_real_run(
    family: str,
    controls: int,
    make_model: Callable[[str], Any],
    tokenizer: Any,
    run_options: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    make_model(family).save_pretrained(tmp_path / family)
    tokenizer.save_pretrained(tmp_path / family)
    options = [*run_options, "--model.path", str(tmp_path / family)]
    options += ["--evaluate.controls", str(controls)]
    for stage in ("locate", "reduce", "evaluate"):
        assert main([stage, *options]) == 0
    capsys.readouterr()
    assert main(["estimate", *options, "--format", "json"]) == 0
    estimate = json.loads(capsys.readouterr().out)["store"]
    store = tmp_path / "run.zarr"
    assert sum(group["objects"] for group in estimate) == sum(f.is_file() for f in store.rglob("*"))


def test_every_object_of_a_tested_score(tmp_path: Path) -> None:
    """The tests of a score have arrays of their own, and so does what languages share."""
    rng = np.random.default_rng(16)
    records = {g: overdispersed(rng, neurons=100, values=9, clusters=6) for g in ("en", "zh")}
    path = write_record(str(tmp_path / "run.zarr"), records, layers=4)
    write_score(path, "contrast", Contrast(ContrastSettings()), kind="contrast")
    shape: Any = SimpleNamespace(num_layers=4, num_neurons=25, num_experts=0, blocks=None)
    none = dict.fromkeys(("conditions", "masks", "controls", "dilemmas"), 0)
    groups = measure_store(
        shape, values=9, languages=2, parts=108, **none, selector=Contrast, outcome=Choice,
        assume=Assumptions(), statistics=["active_count"], tested=True,
    )  # fmt: skip
    files = [file for file in (tmp_path / "run.zarr" / "scores").rglob("*") if file.is_file()]
    expected = [group.objects for group in groups if group.name.startswith("scores")]
    assert len(expected) == 2
    assert sum(expected) == len(files)

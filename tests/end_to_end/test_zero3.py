"""Weights in shards (ZeRO-3) on real processes: the counts of one process, and less memory in each.

Each launch runs several commands, so that libraries are imported once.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import vxstore
from vxdist.cli import main

ROOT = Path(__file__).parents[2]
AGREE = 1e-4
"""Active counts may differ by so much of their sum: gathered weights may take another kernel."""
RANK = """
import json, os, pathlib, sys
sys.path.insert(0, "benchmarks")
import zero3
from vxdist.cli import main
for command, folder, *options in json.loads(pathlib.Path(sys.argv[1]).read_text()):
    if command == "measure":
        os.environ[zero3.OUT] = folder
        zero3.measure(options)
    elif main([command, *options]) != 0:
        sys.exit(f"{command} failed")
"""
Commands = list[list[str]]
Memory = dict[str, float]


def torchrun(ranks: int, folder: Path, commands: Commands) -> str:
    """The commands one after the other on so many ranks; `measure` is that of the benchmark."""
    (folder / "rank.py").write_text(RANK)
    (folder / "commands.json").write_text(json.dumps(commands))
    launch = ["--nproc-per-node", str(ranks), "--rdzv-backend", "c10d"]
    launch += ["--rdzv-endpoint", "127.0.0.1:0", str(folder / "rank.py")]
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", *launch, str(folder / "commands.json")],
        cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}, text=True, capture_output=True,
        timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def read_memory(folder: Path) -> list[Memory]:
    """What each rank measured, in MB."""
    return [json.loads(file.read_bytes()) for file in sorted(folder.glob("*.json"))]


def assert_same_counts(one: xr.Dataset, many: xr.Dataset) -> None:
    """Tokens identical, active counts as near as can be."""
    assert one.token_count.equals(many.token_count)
    off = np.abs(one.active_count.astype(np.int64) - many.active_count).sum()
    assert int(one.active_count.sum()) > 0
    assert int(off) <= AGREE * int(one.active_count.sum())


def record(store: str) -> xr.Dataset:
    """Counts by part."""
    return vxstore.open(store).record().load()


@pytest.fixture(scope="module")
def uneven(
    tmp_path_factory: pytest.TempPathFactory, corpus_folder: Path, slow_folder: Path
) -> list[str]:
    """Three parts of 4, 1 and 2 stories, each a batch, and a model of 136 MB in eight layers."""
    kept = {("kindness", "aligned"): 4, ("kindness", "violating"): 1, ("candour", "aligned"): 2}
    folder = tmp_path_factory.mktemp("uneven")
    lines = []
    for line in (corpus_folder / "activation.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        group = (row["value"], row["stance"])
        if row["language"] == "en" and kept.get(group, 0) > 0:
            kept[group] -= 1
            lines.append(line + "\n")
    (folder / "activation.jsonl").write_text("".join(lines), encoding="utf-8")
    return [
        "--model.path", str(slow_folder), "--corpus.path", str(folder),
        "--locate.parts_per_group", "1", "--locate.max_padding", "0", "--trainer.threads", "1",
    ]  # fmt: skip


@pytest.fixture(scope="module")
def smollm(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """one.zarr by one process, many.zarr of the same scores to be evaluated, and the options."""
    options = [
        "--config", "configs/demo.yaml", "--trainer.threads", "1",
        "--corpus.values", "[freedom, equality]", "--corpus.languages", "[en]",
        "--corpus.stories_per_group", "1", "--corpus.dilemmas_per_value", "1",
        "--locate.parts_per_group", "1", "--reduce.selector", "vape",
        "--reduce.vape.top_fraction", "0.1",
        "--evaluate.values", "[freedom]", "--evaluate.controls", "1",
    ]  # fmt: skip
    folder = tmp_path_factory.mktemp("smollm")
    for stage in ("locate", "reduce"):
        assert main([stage, *options, "--store", str(folder / "one.zarr")]) == 0
    shutil.copytree(folder / "one.zarr", folder / "many.zarr")
    assert main(["evaluate", *options, "--store", str(folder / "one.zarr")]) == 0
    return folder, options


@pytest.fixture(scope="module")
def two(
    tmp_path_factory: pytest.TempPathFactory, uneven: list[str], smollm: tuple[Path, list[str]]
) -> Path:
    """What two ranks wrote."""
    folder = tmp_path_factory.mktemp("two")
    (folder / "memory").mkdir()
    zero3 = ["--trainer.strategy", "zero3", "--store"]
    offload = ["--trainer.offload", "cpu"]
    commands = [
        ["measure", str(folder / "memory"), *uneven, *zero3, str(folder / "measured.zarr")],
        ["locate", "", *uneven, *offload, *zero3, str(folder / "offload.zarr")],
        ["locate", "", *smollm[1], *zero3, str(folder / "smollm.zarr")],
        ["evaluate", "", *smollm[1], *zero3, str(smollm[0] / "many.zarr")],
    ]
    torchrun(2, folder, commands)
    return folder


@pytest.fixture(scope="module")
def four(tmp_path_factory: pytest.TempPathFactory, uneven: list[str]) -> tuple[Path, str]:
    """What four ranks wrote, without and with groups of two that keep a copy; what they said."""
    folder = tmp_path_factory.mktemp("four")
    commands = []
    for name, group in (("all", []), ("group", ["--trainer.shard_group", "2"])):
        (folder / name).mkdir()
        zero3 = [*group, "--trainer.strategy", "zero3", "--store", str(folder / f"{name}.zarr")]
        commands.append(["measure", str(folder / name), *uneven, *zero3])
    return folder, torchrun(4, folder, commands)


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory, uneven: list[str]) -> xr.Dataset:
    """The record of one process with the whole model."""
    store = str(tmp_path_factory.mktemp("alone") / "run.zarr")
    assert main(["locate", *uneven, "--store", store]) == 0
    return record(store)


def test_smollm_counts_as_one_process_does(smollm: tuple[Path, list[str]], two: Path) -> None:
    one, many = (xr.open_zarr(f).load() for f in (smollm[0] / "one.zarr", two / "smollm.zarr"))
    assert_same_counts(one, many)
    assert dict(many.sizes) == {"layer": 30, "neuron": 1536, "value": 2, "language": 1}
    np.testing.assert_allclose(one.activation_sum, many.activation_sum, rtol=1e-3, atol=1e-2)


def test_smollm_is_evaluated_as_by_one_process(smollm: tuple[Path, list[str]], two: Path) -> None:
    """Three conditions on two ranks."""
    assert two.is_dir()
    one, many = (
        vxstore.open(str(smollm[0] / f"{name}.zarr")).evaluation("choice").load()
        for name in ("one", "many")
    )
    assert one.log_odds.shape == many.log_odds.shape
    assert np.abs(one.log_odds).max() > 0.1
    np.testing.assert_allclose(one.log_odds, many.log_odds, atol=1e-3)


@pytest.mark.parametrize("name", ["measured", "offload"])
def test_three_parts_on_two_ranks(alone: xr.Dataset, two: Path, name: str) -> None:
    """Ranks with different numbers of batches keep step; shards may lie in CPU memory."""
    assert alone.sizes["part"] == 3
    assert_same_counts(alone, record(str(two / f"{name}.zarr")))


@pytest.mark.long
@pytest.mark.parametrize("name", ["all", "group"])
def test_three_parts_on_four_ranks(alone: xr.Dataset, four: tuple[Path, str], name: str) -> None:
    folder, said = four
    assert "3 parts left for 4 ranks, so rank 3 will be idle" in said
    assert_same_counts(alone, record(str(folder / f"{name}.zarr")))


@pytest.mark.long
def test_no_rank_ever_holds_the_model(two: Path, four: tuple[Path, str], slow_folder: Path) -> None:
    """Weights that stay, and peaks of the process's own memory (RssAnon) above what it held before
    it loaded. Running, libraries and activations of some 45 MB come on top of the shards."""
    whole = (slow_folder / "model.safetensors").stat().st_size / 1e6
    halves, quarters = read_memory(two / "memory"), read_memory(four[0] / "all")
    assert (len(halves), len(quarters)) == (2, 4)
    for ranks, most in ((halves, 0.8), (quarters, 0.55)):
        for rank in ranks:
            assert rank["parameters"] == pytest.approx(whole / len(ranks), rel=0.01)
            assert rank["load_peak"] < most * whole
    peaks = [max(rank["run_peak"] for rank in ranks) for ranks in (halves, quarters)]
    assert peaks[1] < peaks[0] - 0.1 * whole


@pytest.mark.long
def test_a_group_keeps_a_copy_between_its_ranks(four: tuple[Path, str], slow_folder: Path) -> None:
    """Besides its quarter, each of four ranks keeps half, of which its peer has the other."""
    whole = (slow_folder / "model.safetensors").stat().st_size / 1e6
    for rank in read_memory(four[0] / "group"):
        assert rank["parameters"] == pytest.approx((1 / 4 + 1 / 2) * whole, rel=0.01)

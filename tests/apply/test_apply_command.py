"""The `vxdist apply` command: from a store to a folder, and what it refuses."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

import vxdist
import vxstore
from vxdist.cli import main

TOKENS_BT = torch.randint(3, 512, (3, 11), generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def run_folder(
    model_folder: Path,
    corpus_folder: Path,
    tmp_path_factory: pytest.TempPathFactory,
    add_tests: Callable[..., dict[str, Any]],
) -> Path:
    """A folder with a model, LICENSE and chat template beside it, and a reduced, tested store."""
    folder = tmp_path_factory.mktemp("applied")
    shutil.copytree(model_folder, folder / "model")
    (folder / "model" / "LICENSE.txt").write_text("Do as you like.\n")
    (folder / "model" / "README.md").write_text("---\nlicense: apache-2.0\n---\n# Base\n")
    (folder / "model" / "chat_template.jinja").write_text("{{ messages[0].content }}")
    (folder / "model" / "pytorch_model.bin").write_bytes(b"a pickle")
    config = vxdist.load_config(
        None,
        {
            "model.path": str(folder / "model"),
            "corpus.path": str(corpus_folder),
            "store": str(folder / "run.zarr"),
            "locate.parts_per_group": 2,
            "reduce.selector": "vape",
            "reduce.vape.top_fraction": 0.1,
            "reduce.vape.filter_quantile": 0.5,
            "reduce.vape.activation_quantile": 0.5,
        },
    )
    vxdist.locate(config)
    vxdist.reduce(config)
    add_tests(str(folder / "run.zarr"))
    return folder


@pytest.fixture
def value(run_folder: Path) -> str:
    """A value that has neurons in English."""
    selected = vxstore.open(str(run_folder / "run.zarr")).scores("vape").selected
    having = selected.sel(language="en").any(("layer", "neuron"))
    return str(selected.value.values[having.values][0])


def options(folder: Path, value: str, out: Path) -> list[str]:
    return [
        "apply",
        str(folder / "run.zarr"),
        "--value",
        value,
        "--language",
        "en",
        "--model.path",
        str(folder / "model"),
        "--out",
        str(out),
    ]


def logits(model: Any) -> torch.Tensor:
    with torch.inference_mode():
        found: torch.Tensor = model.eval()(input_ids=TOKENS_BT, use_cache=False).logits
    return found


def load(folder: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)


def test_the_folder_is_a_model_without_these_neurons(
    run_folder: Path, value: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "new" / "ablated"
    assert main(options(run_folder, value, out)) == 0
    selected = vxstore.open(str(run_folder / "run.zarr")).scores("vape").selected
    selected = selected.sel(value=value, language="en")
    count = int(selected.sum())
    said = capsys.readouterr().out.splitlines()
    assert said[-1] == (
        f"apply: {int(selected.any('neuron').sum())} of 30 tensors changed, in {out}"
    )
    assert said[-2].startswith(f"apply: {count} neurons of {value} in en, in ")
    assert sum(map(int, re.findall(r"level [^:]+: (\d+)", said[-2]))) == count

    model = load(run_folder / "model")
    intact = logits(model)
    with vxdist.ablate(model, selected):
        expected = logits(model)
    torch.testing.assert_close(logits(load(out)), expected, atol=1e-4, rtol=1e-5)
    assert (expected - intact).abs().max() > 1e-2
    with vxdist.ablate(model, out / "vxdist_ablation.json", value=value, language="en"):
        assert torch.equal(logits(model), expected)
    assert AutoTokenizer.from_pretrained(out)("I asked").input_ids


def test_what_lies_beside_the_weights(run_folder: Path, value: str, tmp_path: Path) -> None:
    out = tmp_path / "ablated"
    assert main(options(run_folder, value, out)) == 0
    kept = {file.name for file in (run_folder / "model").iterdir()} - {"pytorch_model.bin"}
    assert {file.name for file in out.iterdir()} == {*kept, "vxdist_ablation.json"}
    for name in kept - {"README.md", "model.safetensors"}:
        assert (out / name).read_bytes() == (run_folder / "model" / name).read_bytes()
    assert not list(tmp_path.glob(".*"))

    store = vxstore.open(str(run_folder / "run.zarr"))
    about = json.loads((out / "vxdist_ablation.json").read_text())
    selected = store.scores("vape").selected.sel(value=value, language="en")
    mask = {int(layer): n for layer, n in about["masks"][value]["en"].items()}
    assert sum(map(len, mask.values())) == int(selected.sum())
    assert all(selected.values[layer, neuron] for layer, n in mask.items() for neuron in n)
    assert about["model_fingerprint"] == store.attrs["model_fingerprint"]
    assert about["store_digest"] == store.attrs["metadata_digest"]
    assert about["intervention"] == {"name": "zero", "settings": {}}
    assert sum(about["claims"]["neurons"].values()) == int(selected.sum())
    from vxdist.model.folder import fingerprint

    assert about["fingerprint"] == fingerprint(out) != about["model_fingerprint"]

    card = (out / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: transformers\nlicense: apache-2.0\n")
    assert "This is not a safe or aligned model" in card
    assert "| its licence | [LICENSE.txt](LICENSE.txt) |" in card
    assert f"| value, language | {value}, en |" in card
    assert str(run_folder) not in card + json.dumps(about)
    for level, number in about["claims"]["neurons"].items():
        assert f"| {level} | {number} |" in card
    for layer, neurons in mask.items():
        assert f"| {layer} | {len(neurons)} |" in card


def test_neurons_of_a_mask_file(
    run_folder: Path, value: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "mine.mask.json"
    store = vxstore.open(str(run_folder / "run.zarr"))
    vxstore.export(store, str(file))
    content = json.loads(file.read_text())
    scores = store.scores("vape").sel(value=value, language="en").isel(layer=1)
    having = scores.selected | (scores[["q_value", "q_exclusive", "q_stance"]].to_array() <= 0.1)
    neither = [int(n) for n in np.flatnonzero(~having.any("variable").values)[:2]]
    content["masks"] = {value: {"en": {"1": neither}}}
    file.write_text(json.dumps(content))
    given = [*options(run_folder, value, tmp_path / "out"), "--masks", str(file)]
    assert main(given) == 0
    model = load(run_folder / "model")
    with vxdist.ablate(model, {1: neither}):
        expected = logits(model)
    torch.testing.assert_close(logits(load(tmp_path / "out")), expected, atol=1e-4, rtol=1e-5)
    card = (tmp_path / "out" / "README.md").read_text()
    assert "mask file" in card
    assert "| none | 2 |" in card
    assert "2 neurons of" in capsys.readouterr().out

    file.write_text(json.dumps({**content, "model_fingerprint": "f" * 64}))
    given[given.index("--out") + 1] = str(tmp_path / "other")
    assert main(given) == 2
    error = capsys.readouterr().err
    assert re.search(r"^error: .*model_fingerprint: its neurons are of model", error)
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["--intervention", "mean"], "--intervention mean: cannot be folded into the weights: "),
        (["--intervention", "mwan"], "evaluate.intervention: found 'mwan', expected one of zero"),
        (["--value", "courage"], "has no value 'courage'; there are kindness, candour, thrift"),
        (["--language", "de"], "has no language 'de'; there are en, zh, pooled"),
        (["--score", "exclusive"], "exclusive"),
        (["--masks", "none.json"], "none.json: No such file"),
        (["--vlaue", "x"], "option --vlaue is not known; did you mean --value?"),
        (["--intervention", "mean", "--language", "pooled"], "give one of en, zh"),
        (["--model.path", ""], "model.path: not set"),
    ],
)
def test_mistakes_are_one_line(
    run_folder: Path,
    value: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    more: list[str],
    says: str,
) -> None:
    assert main([*options(run_folder, value, tmp_path / "out"), *more]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert len(error.splitlines()) == 1
    assert says in error
    assert not list(tmp_path.iterdir())


def test_another_model_or_a_folder_that_exists(
    run_folder: Path, value: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out").mkdir()
    assert main(options(run_folder, value, tmp_path / "out")) == 2
    assert "exists already; choose another folder" in capsys.readouterr().err
    shutil.copytree(run_folder / "model", tmp_path / "model")
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    (tmp_path / "model" / "config.json").write_text(json.dumps(config | {"rms_norm_eps": 0.5}))
    given = options(run_folder, value, tmp_path / "new")
    given[given.index("--model.path") + 1] = str(tmp_path / "model")
    assert main(given) == 2
    assert "give the same model" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()
    assert main(["apply", "--value", value, "--language", "en", "--out", "x"]) == 2
    assert "STORE is missing" in capsys.readouterr().err


def test_a_disk_without_room(
    run_folder: Path,
    value: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from types import SimpleNamespace

    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))
    assert main(options(run_folder, value, tmp_path / "out")) == 2
    assert "the checkpoint takes 0.1 GB, and 0.0 GB are free there" in capsys.readouterr().err


def test_what_was_begun_is_removed(
    run_folder: Path, value: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vxdist.apply import files

    def fail(*_: Any) -> list[str]:
        raise OSError(28, "No space left on device", str(tmp_path / "out"))

    monkeypatch.setattr(files, "change_tensors", fail)
    assert main(options(run_folder, value, tmp_path / "out")) == 2
    assert not list(tmp_path.iterdir())


def test_the_package_is_imported_without_torch() -> None:
    code = "import sys, vxdist; vxdist.ablate; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)

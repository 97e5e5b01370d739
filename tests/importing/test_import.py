"""From count files to a store on which the later stages and the queries work."""

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import vxstore
import vxstore.cli.main
from vxdist.cli import main

torch = pytest.importorskip("torch")

MakeFile = Callable[..., str]
RunImport = Callable[..., int]
REDUCE = ("--reduce.selector", "vape", "--reduce.vape.top_fraction", "0.1")


def active(file: str) -> np.ndarray[Any, Any]:
    """What the file counts."""
    return np.asarray(torch.load(file, weights_only=True)["over_zero"].numpy().astype(np.int64))


@pytest.mark.parametrize("denominator", ["tokens", "questions"])
def test_counts_add_up_exactly(
    files: list[str], run_import: RunImport, store: str, denominator: str
) -> None:
    """By value and language, over stances; nothing lost, nothing twice."""
    assert run_import("--denominator", denominator, "--model", "some/model") == 0
    root = vxstore.open(store).root()
    assert root.value.values.tolist() == ["爱国", "和谐"]
    assert root.language.values.tolist() == ["zh", "en"]
    assert set(root.data_vars) == {"active_count", "token_count", "story_count"}
    for n, (value, language) in enumerate(
        (value, language) for value in ("爱国", "和谐") for language in ("zh", "en")
    ):
        cell = root.sel(value=value, language=language)
        np.testing.assert_array_equal(cell.active_count, active(files[n]) + active(files[n + 4]))
        assert cell.story_count == 10 + n + 10 + n + 4
        tokens = 1000 + n + 1000 + n + 4
        assert cell.token_count == (tokens if denominator == "tokens" else cell.story_count)
    assert root.attrs["denominator"] == denominator
    assert root.attrs["model"] == "some/model"
    assert root.attrs["model_fingerprint"] == ""


def test_every_file_is_a_part_of_its_own(
    files: list[str], run_import: RunImport, store: str
) -> None:
    assert run_import("--denominator", "tokens") == 0
    record = vxstore.open(store).record()
    for n, file in enumerate(files):
        part = record.isel(part=n)
        np.testing.assert_array_equal(part.active_count, active(file))
        labels = f"{part.language.item()}/{part.value.item()}-{part.stance.item()}.pt"
        assert file.endswith(labels)
    imported = vxstore.open(store).attrs["imported"]
    digests = {file: hashlib.sha256(Path(file).read_bytes()).hexdigest() for file in files}
    assert imported == {"format": "lape", "files": digests}
    with xr.open_zarr(store) as opened:  # consolidated: no warning, which would be an error
        assert opened.attrs["state"] == "complete"


def test_digests_know_labels_contents_and_denominator(make_file: MakeFile, tmp_path: Path) -> None:
    one, two, other = make_file("1.pt", 1), make_file("2.pt", 2), make_file("x/2.pt", 3)
    runs = {
        "a": (one, two, "tokens"),
        "same": (one, two, "tokens"),
        "turned": (two, one, "tokens"),
        "content": (one, other, "tokens"),
        "denominator": (one, two, "questions"),
    }
    attrs = {}
    for name, (first, second, denominator) in runs.items():
        store = str(tmp_path / f"{name}.zarr")
        options = ("--language", "zh", "--denominator", denominator, "--store", store)
        assert main(["import", "lape", first, second, *options]) == 0
        attrs[name] = vxstore.open(store).attrs
    for key, alike in (
        ("corpus_digest", {"same", "turned", "denominator"}),
        ("plan_digest", {"same"}),
    ):
        found = {n for n in runs if attrs[n][key] == attrs["a"][key]} - {"a"}
        assert found == alike, key


def test_digests_are_those_of_earlier_versions(make_file: MakeFile, store: str) -> None:
    file = make_file("calm.pt", 1)
    options = ("--language", "zh", "--denominator", "tokens", "--store", store)
    assert main(["import", "lape", file, *options]) == 0
    content = hashlib.sha256(Path(file).read_bytes()).hexdigest()
    mark = ["calm", "zh", "unspecified", None, None, content]
    attrs = vxstore.open(store).attrs
    for key, marked in (("corpus_digest", [mark]), ("plan_digest", ["tokens", mark])):
        assert attrs[key] == hashlib.sha256(json.dumps(marked).encode()).hexdigest()


def test_lapes_own_files(make_file: MakeFile, store: str) -> None:
    """`n` for tokens, no questions, moments that nobody asked for."""
    more = {"token_num": None, "question_num": None, "sum1": torch.ones(3, 40)}
    for n, language in enumerate(("en", "zh", "fr")):
        make_file(f"activation.{language}.train.llama-7b", n, n=2000 + n, **more)
    files = sorted(str(f) for f in Path(store).parent.glob("activation.*"))
    pattern = ("--pattern", "activation.{value}.train.llama-7b", "--language", "all")
    options = ("--denominator", "tokens", "--store", store)
    assert main(["import", "lape", *files, *pattern, *options]) == 0
    root = vxstore.open(store).root()
    tokens = dict(zip(root.value.values.tolist(), root.token_count.values[:, 0], strict=True))
    assert tokens == {"en": 2000, "fr": 2002, "zh": 2001}
    assert root.story_count.values.tolist() == [[0], [0], [0]]


def test_counts_saved_as_other_integers(make_file: MakeFile, store: str) -> None:
    """int64, a transposed view, numbers as tensors."""
    counts = torch.arange(120).reshape(40, 3).T
    file = make_file("a.pt", over_zero=counts, token_num=torch.tensor(500))
    options = ("--language", "zh", "--denominator", "tokens", "--store", store)
    assert main(["import", "lape", file, *options]) == 0
    root = vxstore.open(store).root()
    np.testing.assert_array_equal(root.active_count[:, :, 0, 0], counts.numpy())
    assert root.token_count.values.tolist() == [[500]]


def test_the_later_stages_and_the_queries_work(
    run_import: RunImport, store: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_import("--denominator", "tokens") == 0
    assert "exceed 1" not in capsys.readouterr().err
    options = ("--reduce.vape.filter_quantile", "0.5", "--reduce.vape.activation_quantile", "0.5")
    assert main(["reduce", "--store", store, *REDUCE, *options]) == 0
    scores = vxstore.open(store).scores("vape")
    root = vxstore.open(store).root()
    ratio = (root.active_count / root.token_count).sel(language="en")
    np.testing.assert_array_equal(scores.activation_probability.sel(language="en"), ratio)
    assert int(scores.selected.any("value").sel(language="zh").sum()) == 12

    capsys.readouterr()
    assert vxstore.cli.main.main(["info", store, "--format", "json"]) == 0
    about = json.loads(capsys.readouterr().out)
    assert about["complete"]
    assert about["corpus"] == "imported: 8 lape count files"
    assert vxstore.cli.main.main(["info", store]) == 0
    assert (
        vxstore.cli.main.main(["top", store, "--value", "爱国", "--language", "en", "--k", "3"])
        == 0
    )


def test_questions_warn_of_what_exceeds_one(
    make_file: MakeFile, store: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line: the largest over the parts together, and of how many."""
    counts = torch.zeros(2, 5, dtype=torch.int32)
    counts[1, 3], counts[0, 0], counts[0, 1] = 70, 10, 11
    files = [
        make_file("a-for.pt", over_zero=counts, question_num=10),
        make_file("a-against.pt", over_zero=counts * 0, question_num=0 + 1),
        make_file("b-for.pt", over_zero=counts // 10, question_num=4),
    ]
    options = ("--pattern", "{value}-{stance}.pt", "--language", "zh", "--store", store)
    assert main(["import", "lape", *files, *options, "--denominator", "questions"]) == 0
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("warning: ")
    # a: 70/11, 10/11 and 11/11; b: 7/4, 1/4 and 1/4
    assert "the largest is 6.364, and 2 of 20 (neuron, value) exceed 1" in lines[0]


def test_what_was_taken_for_what_is_said(
    files: list[str], run_import: RunImport, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_import("--denominator", "questions") == 0
    lines = capsys.readouterr().out.strip().splitlines()
    assert f"{files[0]}: value 爱国, language zh, stance support, 10 questions" in lines[0]
    assert lines[-1].startswith("import: 8 files, 2 values in zh, en, 3 layers of 40 neurons, in ")


def test_options_may_stand_between_files(make_file: MakeFile, store: str) -> None:
    one, two = make_file("1.pt", 1), make_file("2.pt", 2)
    options = ("--language", "zh", "--denominator", "tokens")
    assert main(["import", "lape", "--store", store, one, *options, two]) == 0
    assert vxstore.open(store).root().value.values.tolist() == ["1", "2"]


def test_an_imported_store_is_not_taken_for_a_models(
    make_file: MakeFile, store: str, run_options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Which model was counted is not known, so none may be evaluated on it, or go on with it."""
    files = [make_file(f"{value}.pt", n) for n, value in enumerate(("kindness", "candour"))]
    options = ("--language", "zh", "--denominator", "tokens", "--store", store)
    assert main(["import", "lape", *files, *options]) == 0
    assert main(["reduce", *run_options, "--store", store]) == 0
    for stage, reason in (("evaluate", "give the same model"), ("locate", "another run")):
        capsys.readouterr()
        assert main([stage, *run_options, "--store", store]) == 2
        lines = capsys.readouterr().err.strip().splitlines()
        assert len(lines) == 1
        assert reason in lines[0]


@pytest.mark.parametrize("arguments", [["--help"], ["lape", "--help"]])
def test_help_is_quick(arguments: list[str]) -> None:
    """It loads neither torch nor zarr."""
    code = (
        "import sys; from vxdist.cli import main\n"
        f"try: main(['import', *{arguments}])\n"
        "except SystemExit as done: assert not done.code\n"
        "assert not {'torch', 'zarr', 'numpy'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "--denominator" in done.stdout


def test_the_command_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    assert (
        "\n  import    import activation counts recorded by other software"
        in capsys.readouterr().out
    )
    assert main(["imprt"]) == 2
    assert "did you mean import?" in capsys.readouterr().err

"""What bad input gets: one line on standard error, exit code 2, nothing half-written."""

import errno
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vxdist.cli import main

Rows = list[dict[str, str]]
WriteLines = Callable[[Path, Rows], None]


@pytest.fixture
def refused(
    run_options: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> Callable[..., str]:
    """Run locate with more options; the one line it is refused with."""

    def run(*more: str, command: str = "locate", store_made: bool = False) -> str:
        capsys.readouterr()
        assert main([command, *run_options, *more]) == 2
        captured = capsys.readouterr()
        lines = captured.err.strip().splitlines()
        assert len(lines) == 1, captured.err
        assert lines[0].startswith("error: ")
        assert (tmp_path / "run.zarr").exists() is store_made
        return lines[0]

    return run


def test_no_corpus(refused: Callable[..., str], tmp_path: Path) -> None:
    assert "is not a directory" in refused("--corpus.path", str(tmp_path / "none"))
    (tmp_path / "empty").mkdir()
    assert "has no activation.jsonl" in refused("--corpus.path", str(tmp_path / "empty"))
    (tmp_path / "empty" / "activation.jsonl").touch()
    assert "has no items" in refused("--corpus.path", str(tmp_path / "empty"))


def test_bad_lines(
    refused: Callable[..., str], tmp_path: Path, stories: Rows, write_lines: WriteLines
) -> None:
    folder = tmp_path / "bad"
    folder.mkdir()
    file = folder / "activation.jsonl"
    corpus = ("--corpus.path", str(folder))

    write_lines(file, stories)
    with file.open("a") as stream:
        stream.write('{"id": \n')
    assert "activation.jsonl:49: not JSON" in refused(*corpus)

    write_lines(file, [*stories, stories[3]])
    duplicate = "activation.jsonl:49: duplicate id 'kindness-0-zh-violating', first seen on line 4"
    assert duplicate in refused(*corpus)
    write_lines(file, [*stories[:-1], {**stories[-1], "stance": "neutral"}])
    assert "activation.jsonl:48: unknown stance 'neutral', expected aligned or violating" in (
        refused(*corpus)
    )
    write_lines(file, [s for s in stories if (s["value"], s["language"]) != ("candour", "zh")])
    assert "value 'candour' has no stories in language 'zh'" in refused(*corpus)


def test_no_model(refused: Callable[..., str], tmp_path: Path) -> None:
    assert "is not a model" in refused("--model.path", str(tmp_path / "none"))
    assert "there is no file" in refused("--model.path", str(tmp_path / "none.gguf"))
    assert "the Python package 'nothing' is not installed" in refused(
        "--model.path", "package:nothing/x.gguf"
    )
    assert "is neither a local path nor available from the Hub" in refused(
        "--model.path", "nobody/nothing"
    )
    assert "has no config.json" in refused("--model.path", str(tmp_path))


def test_a_store_of_another_run(
    refused: Callable[..., str],
    run_options: list[str],
    make_model: Callable[[str], Any],
    tmp_path: Path,
    tokenizer: Any,
) -> None:
    assert main(["locate", *run_options]) == 0
    line = refused("--locate.parts_per_group", "1", store_made=True)
    assert "locate.parts_per_group is 2 there, 1 here" in line
    line = refused("--corpus.stories_per_group", "2", store_made=True)
    assert "corpus" in line
    other = tmp_path / "other"
    make_model("qwen2").save_pretrained(other)
    tokenizer.save_pretrained(other)
    line = refused("--model.path", str(other), store_made=True)
    assert "model is " in line
    assert str(other) in line
    assert "model.dtype is float32 there, bfloat16 here" in refused(
        "--model.dtype", "bfloat16", store_made=True
    )


def test_a_store_that_is_none(refused: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "run.zarr").mkdir()
    (tmp_path / "run.zarr" / "thesis.txt").write_text("do not overwrite", encoding="utf-8")
    assert "is not a vxstore" in refused(store_made=True)
    assert "is not a vxstore" in refused(command="reduce", store_made=True)
    assert [f.name for f in (tmp_path / "run.zarr").iterdir()] == ["thesis.txt"]


def test_no_store_to_reduce(refused: Callable[..., str]) -> None:
    assert "no store at" in refused(command="reduce")
    assert "no store at" in refused(command="report")


def test_a_disk_that_cannot_be_written_or_is_full(
    refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    blocked = str(tmp_path / "file" / "x.zarr")
    assert "error: store: cannot write in" in refused("--store", blocked)

    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage._replace(free=100))
    monkeypatch.setattr("vxdist.runtime.loop.load_model", None)  # refused before it is loaded
    assert "0.0 GB free" in refused()


def test_unknown_keys_name_the_nearest(refused: Callable[..., str], tmp_path: Path) -> None:
    assert "did you mean locate.parts_per_group?" in refused("--locate.parts_per_grup", "3")
    file = tmp_path / "bad.yaml"
    file.write_text("locate:\n  tokens_per_bach: 3\n", encoding="utf-8")
    line = refused("--config", str(file))
    assert "key locate.tokens_per_bach is not known; did you mean locate.tokens_per_batch?" in line
    assert str(file) in line
    file.write_text("locate: [", encoding="utf-8")
    assert "not YAML" in refused("--config", str(file))
    assert "did you mean locate?" in refused(command="lokate")


def test_settings_of_the_wrong_kind(refused: Callable[..., str]) -> None:
    assert "parts_per_group" in refused("--locate.parts_per_group", "many")
    assert "span" in refused("--locate.span", "some")
    assert "torch finds no GPU" in refused("--trainer.accelerator", "gpu")
    assert "tokens_per_batch: 20 is less than the longest text" in refused(
        "--locate.tokens_per_batch", "20"
    )
    assert "must be at least 1, or null" in refused("--locate.parts_per_group", "0")


def test_evaluate_before_reduce(refused: Callable[..., str], run_options: list[str]) -> None:
    assert main(["locate", *run_options]) == 0
    assert "has no finished score; run `vxdist reduce`" in refused(
        command="evaluate", store_made=True
    )


def test_nan_stops_the_run_and_names_the_layer(
    run_options: list[str],
    tmp_path: Path,
    make_model: Callable[[str], Any],
    tokenizer: Any,
    capsys: pytest.CaptureFixture[str],
) -> None:
    model = make_model("llama")
    model.model.layers[2].mlp.gate_proj.weight[0, 0] = float("nan")
    model.save_pretrained(tmp_path / "nan")
    tokenizer.save_pretrained(tmp_path / "nan")
    assert main(["locate", *run_options, "--model.path", str(tmp_path / "nan")]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert re.match(r"error: part \d+, after batch 1 of 1: layer 2: an activation is not", error)


def test_a_disk_that_fills_up_keeps_what_is_recorded(
    run_options: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from vxstore.write import Recorder

    real_write, writes = Recorder.write_part, []

    def full_after_five(self: Recorder, part: int, counts: Any) -> None:
        writes.append(part)
        if len(writes) > 5:
            raise OSError(errno.ENOSPC, "No space left on device")
        real_write(self, part, counts)

    monkeypatch.setattr(Recorder, "write_part", full_after_five)
    assert main(["locate", *run_options]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("error: the disk: No space left on device; what is recorded is kept")
    assert Recorder(str(tmp_path / "run.zarr")).sealed().sum() == 5
    monkeypatch.setattr(Recorder, "write_part", real_write)
    assert main(["locate", *run_options]) == 0
    assert "resuming: 19 of 24 parts are missing" in capsys.readouterr().out


def test_an_installation_without_the_pipeline(
    refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "jsonargparse", None)
    assert "package jsonargparse is not installed; install vxdist with its extra" in refused()


def test_a_store_that_another_machine_writes(
    refused: Callable[..., str],
    run_options: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Its lock says who; `--take-over` says that it is over, and is not kept with the settings."""
    lock = tmp_path / "run.lock"
    lock.write_text(
        '{"run": "r", "host": "node7", "process": 41, "started": "2026-01-02T03:04:05+00:00"}'
    )
    line = refused()
    assert "host node7, process 41, started 2026-01-02T03:04:05+00:00" in line
    assert "--take-over" in line
    assert main(["locate", *run_options, "--take-over"]) == 0
    assert not lock.exists()
    assert "take_over" not in (tmp_path / "run.yaml").read_text()


def test_only_what_runs_a_model_needs_one(
    run_options: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["locate", *run_options]) == 0
    store = ["--store", str(tmp_path / "run.zarr")]
    assert main(["reduce", "--reduce.selector", "vape", *store]) == 0
    assert main(["evaluate", "--reduce.selector", "vape", *store]) == 2
    assert "model.path: not set" in capsys.readouterr().err

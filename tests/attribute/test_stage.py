"""`vxdist attribute` on a small real model: its numbers, its store, and what is refused."""

import datetime
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr

import vxstore
from vxdist.asking.checks import pick_half
from vxdist.cli import main
from vxdist.corpus import EvaluationItem
from vxstore.check.store import check
from vxstore.errors import StoreError

ROOT = Path(__file__).parents[2]


@pytest.fixture
def located(run_options: list[str]) -> list[str]:
    assert main(["locate", *run_options]) == 0
    return run_options


def store_of(options: list[str]) -> str:
    return options[options.index("--store") + 1]


def attribution(options: list[str], name: str = "choice-odd") -> xr.Dataset:
    return vxstore.open(store_of(options)).attribution(name).load()


def by_hand(options: list[str], of: xr.Dataset) -> np.ndarray:
    """-u dL/du of each dilemma, u what the down projection reads; (dilemma, layer, neuron)."""
    from vxdist.asking.outcomes.choice import Choice, ChoiceSettings
    from vxdist.asking.prompting import Prompter, Today
    from vxdist.config import CorpusConfig, EvaluateConfig, ModelConfig
    from vxdist.corpus import load_corpus
    from vxdist.model.load import load_model, load_tokenizer
    from vxdist.model.source import find_model

    given = dict(zip(options[::2], options[1::2], strict=True))
    settings = ModelConfig(path=given["--model.path"])
    source = find_model(settings)
    model: Any = load_model(source, settings)
    items = load_corpus(CorpusConfig(path=given["--corpus.path"])).evaluation
    ids = [str(name) for name in of["dilemma"].values]
    picked = [item for item in items if item.id in ids]
    today = Today(date=datetime.date(2026, 1, 31), given=False)
    prompter = Prompter(load_tokenizer(source), EvaluateConfig(), today)
    seen: list[torch.Tensor] = []
    for layer in model.model.layers:
        layer.mlp.down_proj.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    found = np.zeros((len(ids), *of["attribution_sum"].shape[:2]))
    for question in Choice(ChoiceSettings()).ask(picked, prompter, None):
        seen.clear()
        ids_BT = torch.as_tensor(question.token_ids_T.astype(np.int64))[None]
        embedded = model.get_input_embeddings()(ids_BT).requires_grad_()
        logits_W = model(inputs_embeds=embedded, use_cache=False).logits[0, -1].double()
        a, b = (logits_W[list(tokens)].logsumexp(-1) for tokens in question.answers)
        number = (a - b) * (1 - 2 * question.order)
        gradients = torch.autograd.grad(number, seen)
        for n, (u, gradient) in enumerate(zip(seen, gradients, strict=True)):
            found[question.dilemma, n] -= (u * gradient).sum((0, 1)).detach().numpy() / 2
        assert float(number.detach()) == pytest.approx(
            float(of["log_odds"][question.dilemma, question.order]), abs=1e-5
        )
    return found


def test_numbers_are_those_of_a_plain_computation(located: list[str]) -> None:
    assert main(["attribute", *located, "--attribute.by_dilemma", "true"]) == 0
    of = attribution(located)
    expected_DLN = by_hand(located, of)
    assert np.abs(expected_DLN).max() > 1e-3
    assert of["attribution"].values == pytest.approx(expected_DLN, abs=2e-6)
    for value in of["value"].values:
        for language in of["language"].values:
            at = (of["dilemma_value"] == value) & (of["dilemma_language"] == language)
            cell = of.sel(value=value, language=language)
            rows_DLN = of["attribution"].values[at.values].astype(np.float64)
            assert int(cell["dilemma_count"]) == len(rows_DLN) == 2
            assert cell["attribution_sum"].values == pytest.approx(rows_DLN.sum(0), abs=1e-12)
            squares_LN = (rows_DLN**2).sum(0)
            assert cell["attribution_square_sum"].values == pytest.approx(squares_LN, abs=1e-12)
    assert not check(store_of(located)).findings


def test_without_rows_sums_are_the_same(
    located: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with_rows = ["--attribute.by_dilemma", "true", "--attribute.name", "rows"]
    again = ["--attribute.checkpointing", "true"]
    assert main(["attribute", *located, *with_rows]) == 0
    assert main(["attribute", *located, *again]) == 0
    rows, of = attribution(located, "rows"), attribution(located)
    assert "attribution" not in of
    for name in ("attribution_sum", "attribution_square_sum", "log_odds", "dilemma_count"):
        assert np.array_equal(of[name].values, rows[name].values), name
    assert not check(store_of(located)).findings
    capsys.readouterr()
    assert main(["attribute", *located, *again]) == 0
    assert "attribution/choice-odd exists already; no model work" in capsys.readouterr().out
    other = ["--attribute.dilemmas", "even", "--attribute.name", "choice-odd"]
    assert main(["attribute", *located, *other]) == 2
    assert "half is odd there, even here" in capsys.readouterr().err
    from vxstore.cli.main import main as query

    assert query(["info", store_of(located)]) == 0
    assert "attribution/choice-odd" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["attribution_sum", "dilemma_count"])
def test_check_finds_sums_that_are_not_those_of_the_dilemmas(located: list[str], name: str) -> None:
    from vxstore.io import arrays

    assert main(["attribute", *located, "--attribute.by_dilemma", "true"]) == 0
    group = arrays.open_group(store_of(located), "attribution/choice-odd", mode="r+")
    array = arrays.get_array(group, name)
    array[...] = np.asarray(array[...]) / 2 if name == "attribution_sum" else 3
    findings = check(store_of(located)).findings
    assert [finding.array for finding in findings] == [f"attribution/choice-odd/{name}"]


def test_halves_are_of_pairs_whatever_the_language() -> None:
    items = [
        EvaluationItem(
            id=f"{pair}-{language}",
            pair=pair,
            value=value,
            language=language,
            dilemma="",
            aligned="",
            violating="",
        )
        for value, pairs in (("a", "xyz"), ("b", "uvw"))
        for language, order in (("en", 1), ("zh", -1))
        for pair in pairs[::order]
    ]
    odd, even = (pick_half(items, half) for half in ("odd", "even"))
    assert {item.pair for item in odd} == {"x", "z", "u", "w"}
    assert {item.pair for item in even} == {"y", "v"}
    assert len(odd) + len(even) == len(items)
    assert pick_half(items, "all") == items


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--trainer.strategy", "zero3"], "trainer.strategy: zero3 cannot attribute"),
        (["--attribute.outcome", "mood"], "attribute.outcome: found 'mood', expected one of"),
        (["--attribute.name", "a/b"], "attribute.name: 'a/b' must be a plain name"),
        (["--corpus.dilemmas_per_value", "1", "--attribute.dilemmas", "even"], "use all"),
        (["--attribute.tokens_per_batch", "5"], "attribute.tokens_per_batch"),
    ],
)
def test_refused(
    located: list[str], capsys: pytest.CaptureFixture[str], options: list[str], message: str
) -> None:
    capsys.readouterr()
    assert main(["attribute", *located, *options]) == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1


def test_an_outcome_without_log_odds_is_refused(
    located: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from vxdist.asking.outcomes.choice import Choice

    monkeypatch.delattr(Choice, "log_odds")
    capsys.readouterr()
    assert main(["attribute", *located]) == 2
    assert "attribute.outcome: choice has no log-odds" in capsys.readouterr().err


def test_a_store_that_is_not_there(
    run_options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["attribute", *run_options]) == 2
    assert "no store at" in capsys.readouterr().err


def run_process(options: list[str]) -> "subprocess.Popen[bytes]":
    environ = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "vxdist", "attribute", *options]
    return subprocess.Popen(command, cwd=ROOT, env=environ, stdout=subprocess.DEVNULL)


@pytest.mark.long
def test_two_ranks_give_what_one_gives(located: list[str]) -> None:
    one, two = ([*located, "--attribute.name", name] for name in ("one", "two"))
    assert main(["attribute", *one]) == 0
    assert run_process([*two, "--trainer.devices", "2"]).wait(240) == 0
    found = [attribution(located, name) for name in ("one", "two")]
    for name in ("attribution_sum", "log_odds"):
        first, second = (of[name].values for of in found)
        assert second == pytest.approx(first, abs=1e-6), name
    assert not check(store_of(located)).findings


@pytest.mark.long
def test_killed_and_resumed(
    run_options: list[str], slow_folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    from vxstore.attribution import AttributionRecorder

    options = [*run_options, "--attribute.dilemmas", "all", "--attribute.by_dilemma", "true"]
    options[options.index("--model.path") + 1] = str(slow_folder)
    assert main(["locate", *options]) == 0
    assert main(["attribute", *options, "--attribute.name", "whole"]) == 0
    process = run_process(options)
    path, end = store_of(options), time.monotonic() + 200
    sealed = np.zeros(1, dtype=bool)
    while not sealed.any() and process.poll() is None and time.monotonic() < end:
        time.sleep(0.02)
        try:
            sealed = AttributionRecorder(path, "choice-all").sealed()
        except (StoreError, FileNotFoundError, KeyError):
            continue
    process.send_signal(signal.SIGKILL)
    process.wait()
    sealed = AttributionRecorder(path, "choice-all").sealed()
    assert 0 < sealed.sum() < sealed.size
    capfd.readouterr()
    assert main(["attribute", *options, "--take_over"]) == 0
    assert f"{sealed.size} dilemmas attributed" in capfd.readouterr().out
    whole, resumed = (attribution(options, name) for name in ("whole", "choice-all"))
    for name in ("attribution", "attribution_sum", "attribution_square_sum", "log_odds"):
        assert np.array_equal(whole[name].values, resumed[name].values), name
    assert not check(path).findings

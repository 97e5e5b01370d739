"""Harm equals a plain computation with and without the neurons, and judges the masks."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

import vxstore
from vxdist.asking.outcomes.harm import Harm as HarmOutcome
from vxdist.asking.outcomes.harm import HarmSettings
from vxdist.config import CorpusConfig
from vxdist.corpus import load_corpus
from vxdist.errors import UserError
from vxdist.evaluate.harm import align, is_harm_of
from vxdist.stats.verdict import Harm
from vxstore.cli.main import main as vxstore_main


def test_against_a_plain_model(
    evaluated: Any,
    model_folder: Path,
    neutral_corpus: Path,
    tokenizer: Any,
    ablated_model: Callable[..., Any],
) -> None:
    found = vxstore.open(str(evaluated.store)).evaluation("harm").load()
    corpus = load_corpus(CorpusConfig(path=str(neutral_corpus)))
    intact = AutoModelForCausalLM.from_pretrained(model_folder).eval().requires_grad_(False)
    for c in (0, 1, found.sizes["condition"] - 1):
        models = {g: ablated_model(found, c, g) for g in ("en", "zh")}
        for d, item in enumerate(corpus.neutral):
            ids = torch.tensor([tokenizer(item.text)["input_ids"]])
            log_p_TW, log_q_TW = (
                model(input_ids=ids).logits[0, :-1].double().log_softmax(-1)
                for model in (intact, models[item.language])
            )
            kl = float((log_p_TW.exp() * (log_p_TW - log_q_TW)).sum(-1).mean())
            nll = -float(log_q_TW.gather(-1, ids[0, 1:, None]).mean())
            assert found.kl.values[c, d] == pytest.approx(kl, abs=1e-5)
            assert found.nll.values[c, d] == pytest.approx(nll, abs=1e-4)
    assert (found.kl.values[0] == 0).all()
    assert found.kl.values[1:].max() > 1e-3
    assert found.kl.values.min() >= 0


def test_effects_have_one_family_and_judge_the_others(
    evaluated: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    store = vxstore.open(str(evaluated.store))
    harm, choice = store.effect("harm").load(), store.effect("choice").load()
    assert harm.mean_shift.dims == ("mask", "value", "language")
    assert harm["value"].values.tolist() == ["neutral"]
    assert list(harm.attrs["families"]) == ["all"]
    assert harm.attrs["families"]["all"]["smallest_rank_p"] == 0.2  # one-sided, 4 draws
    for name in ("choice", "likelihood"):
        effect = store.effect(name)
        assert effect.attrs["harm_of"] == "harm"
        assert np.array_equal(effect.harm_shift.values, harm.mean_shift.values[:, 0])
        assert np.array_equal(effect.harm_p.values, harm.p_value.values[:, 0], equal_nan=True)
    nll = store.evaluation("harm").nll.load()
    of_mask = nll.isel(condition=1) - nll.isel(condition=0)
    in_en = np.array([g == "en" for g in nll.dilemma_language.values.tolist()])
    assert float(harm.nll_shift.sel(language="en").values[0, 0]) == pytest.approx(
        float(of_mask.values[in_en].mean())
    )
    above = harm.mean_shift > harm.control_mean
    assert (harm.p_value.values[above.values] <= 0.5).all()
    assert (harm.p_value.values[~above.values] >= 0.5).all()
    assert choice.attrs["families"].keys() == {"own", "specific", "other"}

    assert vxstore_main(["effects", str(evaluated.store)]) == 0
    shown = capsys.readouterr().out
    assert "p harm" in shown
    assert "evaluation/choice" in shown
    assert vxstore_main(["effects", str(evaluated.store), "--evaluation", "harm"]) == 0
    shown = capsys.readouterr().out
    assert "moves neutral text more" in shown or "move neutral text more" in shown
    assert "5 causal" not in shown
    assert vxstore_main(["check", str(evaluated.store)]) == 0


def test_harm_that_comes_later_is_taken_into_account(
    reduced: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = reduced.copied(tmp_path)
    assert run.evaluate() == 0
    store = vxstore.open(str(run.store))
    assert "harm_of" not in store.effect("choice").attrs
    before = store.evaluation("choice").load()
    assert run.evaluate("--evaluate.outcome", "harm", "--evaluate.name", "neutral") == 0
    assert store.effect("choice").attrs["harm_of"] == "neutral"
    assert store.evaluation("choice").load().equals(before)
    monkeypatch.setattr("vxdist.runtime.loop.load_model", None)
    assert run.evaluate() == 0  # finished, and nothing to conclude again


@pytest.mark.parametrize(
    ("changes", "same"),
    [
        ({}, True),
        ({"selection_digest": "b"}, False),
        ({"intervention": "mean"}, False),
        ({"settings": {"seed": 1, "dose": 1.0}}, True),
        ({"settings": {"dose": 2.0}}, False),
        ({"split": "evaluation"}, False),
    ],
)
def test_which_harm_belongs_to_which_masks(changes: dict[str, Any], same: bool) -> None:
    of = {"selection_digest": "a", "intervention": "zero", "settings": {"seed": 0, "dose": 1.0}}
    assert is_harm_of({**of, "split": "neutral", **changes}, of) == same


def test_harm_of_some_masks_is_none_of_the_others() -> None:
    one = np.array([[1.0, 2.0]])
    harm = Harm(masks=["b"], languages=["zh", "en"], shift_MG=one, p_MG=one / 10, rank_MG=one / 4)
    found = align(harm, ["a", "b"], ["en"])
    assert np.isnan(found.shift_MG[0, 0])
    assert (found.shift_MG[1, 0], found.p_MG[1, 0], found.rank_MG[1, 0]) == (2.0, 0.2, 0.5)


def test_the_first_passages_of_each_language(neutral_corpus: Path) -> None:
    items = load_corpus(CorpusConfig(path=str(neutral_corpus))).neutral
    chosen = HarmOutcome(HarmSettings(passages=2)).choose(items)
    assert [item.id for item in chosen] == ["p0-en", "p0-zh", "p1-en", "p1-zh"]
    assert HarmOutcome().choose(items) == list(items)
    with pytest.raises(UserError, match=r"evaluate\.harm\.passages: 0 must be 1 or more"):
        HarmOutcome(HarmSettings(passages=0)).check()

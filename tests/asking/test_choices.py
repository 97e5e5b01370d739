"""Log-odds in the store equal those of a plain forward of a model with columns zeroed."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

import vxstore
from vxdist.asking.letters import letter_tokens
from vxdist.asking.outcomes.choice import Choice, ChoiceSettings
from vxdist.cli import main
from vxdist.corpus import EvaluationItem
from vxdist.errors import UserError

ITEM = EvaluationItem(
    id="x-en",
    pair="x",
    value="v",
    language="en",
    dilemma="Keep it?",
    aligned="No.",
    violating="Yes.",
)


def plain_log_odds(model: Any, ids: Any, letters: Any) -> float:
    logits_W = model(input_ids=torch.tensor([ids.tolist()])).logits[0, -1].double()
    a, b = (logits_W[list(tokens)].logsumexp(0) for tokens in letters)
    return float((a - b).detach())


def test_every_condition_against_a_plain_model(
    run_options: list[str], model_folder: Path, corpus_folder: Path, prompter: Any, tmp_path: Path
) -> None:
    from vxdist.config import CorpusConfig
    from vxdist.corpus import load_corpus

    for stage in ("locate", "reduce", "evaluate"):
        assert main([stage, *run_options]) == 0
    found = vxstore.open(str(tmp_path / "run.zarr")).evaluation("choice").load()
    corpus = load_corpus(CorpusConfig(path=str(corpus_folder)))
    questions = Choice(ChoiceSettings()).ask(corpus.evaluation, prompter, None)
    letters = letter_tokens(prompter.tokenizer)
    changed = 0
    for c in range(found.sizes["condition"]):
        for g, language in enumerate(found.language.values):
            model = AutoModelForCausalLM.from_pretrained(model_folder).eval()
            off_LN = found.masked.values[c, ..., g]
            for layer, off_N in zip(model.model.layers, off_LN, strict=True):
                layer.mlp.down_proj.weight.data[:, off_N] = 0
            changed += int(off_LN.sum())
            for question in (q for q in questions if q.language == language):
                expected = plain_log_odds(model, question.token_ids_T, letters)
                expected *= 1 - 2 * question.order
                stored = found.log_odds.values[c, question.dilemma, question.order]
                assert stored == pytest.approx(expected, abs=2e-4)
    assert changed > 0
    assert np.abs(found.log_odds.values[1:] - found.log_odds.values[0]).max() > 1e-3


def test_orders_swap_the_options(prompter: Any) -> None:
    settings = ChoiceSettings(prompts={"en": "{dilemma}|A {a}|B {b}"}, cues={"en": "So:"})
    asked = Choice(settings).ask([ITEM], prompter, None)
    shown = [prompter.show(question.token_ids_T) for question in asked]
    assert shown == ["<s>Keep it?|A No.|B Yes.\n\nSo:", "<s>Keep it?|A Yes.|B No.\n\nSo:"]


def test_prompts_that_will_not_do(prompter: Any) -> None:
    with pytest.raises(UserError, match="none for language 'en'"):
        Choice(ChoiceSettings(prompts={"zh": "{dilemma}{a}{b}"})).ask([ITEM], prompter, None)
    with pytest.raises(UserError, match=r"\{b\} is missing"):
        Choice(ChoiceSettings(prompts={"en": "{dilemma}{a}"})).ask([ITEM], prompter, None)
    with pytest.raises(UserError, match="more than the model's 5"):
        Choice(ChoiceSettings()).ask([ITEM], prompter, 5)


def test_an_evaluation_cut_short_goes_on(
    run_options: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    killed_after: Callable[[int], AbstractContextManager[None]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    from vxdist.evaluate import stage

    for name in ("locate", "reduce"):
        assert main([name, *run_options]) == 0
    with killed_after(3):
        assert main(["evaluate", *run_options]) == 3
    with monkeypatch.context() as patch:
        patch.setattr(stage, "finish", lambda *_: None)  # as if killed just before the end
        assert main(["evaluate", *run_options]) == 0
    with pytest.raises(vxstore.StoreError, match="no finished evaluation/choice"):
        vxstore.open(str(tmp_path / "run.zarr")).evaluation("choice")
    monkeypatch.setattr("vxdist.runtime.loop.load_model", None)  # nothing is left to score
    assert main(["evaluate", *run_options]) == 0
    store = vxstore.open(str(tmp_path / "run.zarr"))
    wide = store.effect("choice").load()
    assert main(["evaluate", *run_options, "--evaluate.confidence", "0.5"]) == 0
    narrow = store.effect("choice").load()
    assert narrow.attrs["confidence"] == 0.5
    assert float(narrow.shift_high.sum()) < float(wide.shift_high.sum())
    capsys.readouterr()
    assert main(["evaluate", *run_options, "--evaluate.seed", "1"]) == 2
    assert "seed is 0 there, 1 here. Choose another evaluate.name" in capsys.readouterr().err

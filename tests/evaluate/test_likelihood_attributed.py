"""`vxdist attribute` of the options' likelihoods: against gradients by hand, and real ablation."""

import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from transformers import AutoModelForCausalLM

import vxstore
from vxdist.asking.outcomes.likelihood import Likelihood, LikelihoodSettings
from vxdist.asking.prompting import Prompter, Today
from vxdist.cli import main
from vxdist.config import CorpusConfig, EvaluateConfig
from vxdist.corpus import load_corpus
from vxstore.check.store import check

NAMED = ("--attribute.outcome", "likelihood", "--attribute.dilemmas", "all")
BY_DILEMMA = ("--attribute.by_dilemma", "true")


@pytest.fixture
def located(reduced: Any, tmp_path: Path) -> list[str]:
    """Options of a run with a store of its own, located and reduced."""
    run = reduced.copied(tmp_path)
    return [*run.options, "--store", str(run.store)]


def store_of(options: list[str]) -> Any:
    return vxstore.open(options[options.index("--store") + 1])


def weigh(normalise: str, likelihoods: dict[tuple[int, bool], Any], lengths: list[int]) -> Any:
    """The log-odds of the aligned option from log-likelihoods by (option, after the dilemma)."""
    aligned, violating = likelihoods[0, True], likelihoods[1, True]
    if normalise == "per_character":
        return aligned / lengths[0] - violating / lengths[1]
    if normalise == "unconditional":
        return (aligned - likelihoods[0, False]) - (violating - likelihoods[1, False])
    return aligned - violating


def by_hand(
    options: list[str], prompter: Prompter, of: xr.Dataset, normalise: Any
) -> tuple[np.ndarray, np.ndarray]:
    """-u dL/du of each dilemma, u what the down projection reads, (dilemma, layer, neuron); and L,
    (dilemma,): one backward pass of the log-odds of all four texts."""
    given = dict(zip(options[::2], options[1::2], strict=True))
    model: Any = AutoModelForCausalLM.from_pretrained(given["--model.path"]).eval()
    items = load_corpus(CorpusConfig(path=given["--corpus.path"])).evaluation
    assert [item.id for item in items] == [str(name) for name in of["dilemma"].values]
    questions = Likelihood(LikelihoodSettings(normalise=normalise)).ask(items, prompter, None)
    seen: list[torch.Tensor] = []
    for layer in model.model.layers:
        layer.mlp.down_proj.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    found = np.zeros((len(items), *of["attribution_sum"].shape[:2]))
    numbers = np.zeros(len(items))
    for d, item in enumerate(items):
        seen.clear()
        likelihoods: dict[tuple[int, bool], Any] = {}
        for question in questions[4 * d : 4 * d + 4]:
            assert question.dilemma == d
            ids_BT = torch.as_tensor(question.token_ids_T.astype(np.int64))[None]
            log_p_TW = model(input_ids=ids_BT, use_cache=False).logits[0].double().log_softmax(-1)
            at_T = range(question.first, ids_BT.shape[1])
            terms = [log_p_TW[t - 1, ids_BT[0, t]] for t in at_T]
            likelihoods[question.option, question.after_dilemma] = torch.stack(terms).sum()
        lengths = [len(option) for option in (item.aligned, item.violating)]
        number = weigh(normalise, likelihoods, lengths)
        numbers[d] = number.item()
        gradients = torch.autograd.grad(number, seen, allow_unused=True)
        for n, (u, gradient) in enumerate(zip(seen, gradients, strict=True)):
            if gradient is not None:
                layer = n % found.shape[1]
                found[d, layer] -= (u * gradient).sum((0, 1)).detach().numpy()
    return found, numbers


@pytest.mark.parametrize(
    "normalise", [pytest.param("sum", marks=pytest.mark.long), "per_character", "unconditional"]
)
def test_numbers_are_those_of_a_plain_computation(
    located: list[str], prompter: Prompter, normalise: str
) -> None:
    asked = ("--evaluate.likelihood.normalise", normalise)
    assert main(["attribute", *located, *NAMED, *BY_DILEMMA, *asked]) == 0
    of = store_of(located).attribution("likelihood-all").load()
    expected_DLN, number_D = by_hand(located, prompter, of, normalise)
    assert np.abs(expected_DLN).max() > 1e-4
    assert of["attribution"].values == pytest.approx(expected_DLN, abs=1e-5)
    assert of["log_odds"].dims == ("dilemma",)
    assert of["log_odds"].values == pytest.approx(number_D, abs=1e-4)
    units = "nats per character" if normalise == "per_character" else "nats"
    for name in ("log_odds", "attribution_sum", "attribution"):
        assert of[name].attrs["units"] == units, name
    assert of.attrs["attributed"] == "log_odds"
    assert not check(store_of(located).path).findings


def test_a_small_dose_does_what_is_attributed(located: list[str]) -> None:
    """Activations scaled by .97 shift the log-odds by .03 of what is attributed to them."""
    assert main(["attribute", *located, *NAMED]) == 0
    dose = ("--evaluate.intervention", "scale", "--evaluate.scale.dose", "0.97")
    assert main(["evaluate", *located, "--evaluate.outcome", "likelihood", *dose]) == 0
    of = store_of(located).attribution("likelihood-all").load()
    evaluation = store_of(located).evaluation("likelihood").load()
    effect = store_of(located).effect("likelihood").load()
    mean = of["attribution_sum"] / of["dilemma_count"]
    masked = evaluation["masked"].isel(condition=np.flatnonzero(evaluation["kind"] == "mask"))
    predicted = (masked * mean).sum(("layer", "neuron"))
    predicted = predicted.transpose("condition", "value", "language").values
    measured = effect["mean_shift"].transpose("mask", "value", "language").values / 0.03
    assert np.abs(measured).max() > 1e-3
    assert np.corrcoef(predicted.ravel(), measured.ravel())[0, 1] > 0.999
    assert (predicted * measured).sum() / (predicted**2).sum() == pytest.approx(1, abs=0.02)
    assert "warrant" not in effect.attrs  # an attribution is of zero ablation


ASKED = ("--evaluate.controls", "8", "--evaluate.outcome")


def test_matched_sets_of_the_same_question(located: list[str]) -> None:
    assert main(["attribute", *located, *NAMED]) == 0
    assert main(["evaluate", *located, *ASKED, "likelihood"]) == 0
    effect = store_of(located).effect("likelihood").load()
    assert effect.attrs["warrant"]["attribution"] == "likelihood-all"
    assert np.nanmedian(effect["warrant_r"].values) > 0.8  # tiny masks: the prediction is good


@pytest.mark.long
@pytest.mark.parametrize(
    "other",
    [("--evaluate.likelihood.normalise", "sum"), ("--attribute.outcome", "choice")],
)
def test_no_matched_sets_of_another_question(located: list[str], other: tuple[str, str]) -> None:
    assert main(["attribute", *located, *NAMED, *other]) == 0
    assert main(["evaluate", *located, "--evaluate.outcome", "likelihood"]) == 0
    assert "warrant" not in store_of(located).effect("likelihood").attrs


@pytest.mark.parametrize(
    ("name", "other", "alike"),
    [
        ("normalise", "per_character", False),
        ("prompts", {"en": "{dilemma} So?"}, False),
        ("values", ["thrift"], True),  # which dilemmas are asked is compared elsewhere
        ("name", "mine", True),
        ("cues", None, False),
    ],
)
def test_what_is_asked_alike(name: str, other: Any, alike: bool) -> None:
    from vxdist.evaluate.attributed import _asks

    asked = {"normalise": "sum", "prompts": {"en": "{dilemma}"}, "cues": {"en": "So:"}}
    of = {"settings": {**asked, "name": "a", "values": ["calm"], "by_dilemma": True}}
    evaluation = {**asked, "name": "b", "values": ["calm"], "seed": 0}
    assert _asks(of, {"settings": evaluation})
    assert _asks(of, {"settings": {**evaluation, name: other}}) == alike
    del evaluation["cues"]  # an earlier version did not write it
    assert _asks(of, {"settings": evaluation})


@pytest.mark.long
def test_draws_at_quantiles_beside_another_outcome(located: list[str]) -> None:
    assert main(["attribute", *located, *NAMED]) == 0
    spread = ("--evaluate.draws", "quantiles", "--evaluate.name")
    assert main(["evaluate", *located, *ASKED, "likelihood", *spread, "one"]) == 0
    assert store_of(located).evaluation("one").attrs["draws"] == "quantiles"
    assert main(["evaluate", *located, *ASKED, "likelihood,choice", *spread, "both"]) == 0
    draws = {
        name: store_of(located).evaluation(f"both-{name}").attrs["draws"]
        for name in ("likelihood", "choice")
    }
    assert draws == {"likelihood": "quantiles", "choice": "random"}


@pytest.fixture
def today() -> Today:
    return Today(date=datetime.date(2026, 1, 31), given=False)


@pytest.fixture
def prompter(tokenizer: Any, today: Today) -> Prompter:
    return Prompter(tokenizer, EvaluateConfig(), today)

"""Checks of evaluate's settings that need no model; `vxdist estimate` makes some of them too."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from vxdist.asking.checks import check_asking, check_values, find_asked, make_outcomes
from vxdist.asking.outcomes import Item, Outcome
from vxdist.config import Config, EvaluateConfig
from vxdist.corpus import Corpus, EvaluationItem
from vxdist.errors import UserError
from vxdist.hooks.interventions import Intervention
from vxdist.hooks.masks import check_needs, find_score, make_intervention
from vxdist.runtime.checks import check_batches, check_model_run
from vxstore.identity import check_name, holds_store
from vxstore.read import Store, open_store


def check_settings(config: Config, corpus: Corpus | None) -> None:
    """Raise UserError, naming the setting, if one is out of range, or names no value or component
    that there is.
    """
    settings = config.evaluate
    check_draws(settings, make_outcomes(settings))
    make_intervention(settings)
    for name in config.evaluation_names.values():
        check_name(name, "evaluate.name")
    check_controls(settings)
    check_asking(settings)
    check_batches("evaluate", settings.tokens_per_batch, settings.max_padding)
    if settings.seed < 0:
        raise UserError(f"evaluate.seed: {settings.seed} must be 0 or more")
    for name in ("fdr", "confidence"):
        if not 0 < getattr(settings, name) < 1:
            raise UserError(f"evaluate.{name}: {getattr(settings, name)} must be between 0 and 1")
    if settings.masks is not None and not Path(settings.masks).is_file():
        raise UserError(
            f"evaluate.masks: there is no file {settings.masks}; `vxstore export STORE "
            "NAME.mask.json` writes a mask file"
        )
    if corpus is not None:
        check_values(settings, corpus)


def check_inputs(config: Config, corpus: Corpus | None, stages: Sequence[str]) -> None:
    """Raise UserError if dilemmas, prompts, model, store or score are missing.

    `stages` are those of this run: what they will make is not looked for in the store.
    """
    assert corpus is not None
    check_model_run(config)
    asked = []
    for outcome in make_outcomes(config.evaluate).values():
        for item in (found := find_asked(config, corpus, outcome)):
            outcome.prompts(item)
        asked += found
    intervention = make_intervention(config.evaluate)
    masks = check_values(config.evaluate, corpus)
    if "locate" not in stages:
        store = open_store(config.store)
        root = store.root()
        check_needs(store, root, intervention)
        check_suits(intervention, [str(label) for label in root.value.values], masks)
        if "reduce" not in stages:
            refuse_circular(config, store, find_score(config, store), asked)
        return
    check_suits(intervention, corpus.values, masks)
    for name in intervention.needs:
        if name not in config.locate.statistics:
            raise UserError(
                f"evaluate.intervention: {config.evaluate.intervention} needs {name}; add it to "
                "locate.statistics, or choose another, such as zero"
            )
    _check_score(config)


def refuse_circular(config: Config, store: Store, score: str, items: Sequence[Item]) -> None:
    """Raise UserError if the neurons were chosen by their effect on some of these dilemmas.

    Raises StoreError if there is no such score. Masks given by hand are the user's own affair, and
    neurons are not chosen by neutral passages.
    """
    source = store.scores(score).attrs.get("attribution")
    if config.evaluate.masks is not None or source is None:
        return
    asked = {item.id for item in items if isinstance(item, EvaluationItem)}
    name, half = str(source["name"]), str(source["half"])
    if name in store.names("attribution"):
        again = [i for i in store.attribution(name)["dilemma"].values if str(i) in asked]
    else:  # removed since
        again = list(asked) if config.evaluate.dilemmas in ("all", half) else []
    if again:
        other = {"odd": "set evaluate.dilemmas: even", "even": "set evaluate.dilemmas: odd"}
        fix = other.get(half, "attribute one half (attribute.dilemmas: odd), evaluate the other")
        raise UserError(
            f"evaluate.dilemmas: {config.evaluate.dilemmas}, but scores/{score} chose its neurons "
            f"by their effect on {len(again)} of these dilemmas (attribution/{name}), so that any "
            f"effect on them is circular; {fix}"
        )


def _check_score(config: Config) -> None:
    """Raise UserError if the score to ablate is neither the run's own nor in the store."""
    wanted = config.evaluate.scores
    if wanted is None or wanted == config.score_name:
        return
    known = open_store(config.store).names("scores") if holds_store(config.store) else []
    if wanted not in known:
        raise UserError(
            f"evaluate.scores: this run makes the score {config.score_name}, and {config.store} "
            f"has no score {wanted!r}; name one of these, or leave it out"
        )


def check_draws(settings: EvaluateConfig, outcomes: Mapping[str, Outcome]) -> None:
    """Raise UserError if draws are to be at quantiles, and no outcome has log-odds: none of them
    can have an attribution, which says what the quantiles are of."""
    able = any(hasattr(outcome, "log_odds") for outcome in outcomes.values())
    if settings.draws == "quantiles" and not able:
        raise UserError(
            f"evaluate.draws: quantiles are those of an attribution, and {', '.join(outcomes)} "
            "cannot be attributed to neurons; use random, or measure choice too"
        )


def check_controls(settings: EvaluateConfig) -> None:
    """Raise UserError if the number of controls or of their candidates is out of range."""
    if settings.controls < 0:
        raise UserError(f"evaluate.controls: {settings.controls} must be 0 or more")
    if settings.control_pool < 1:
        raise UserError(f"evaluate.control_pool: {settings.control_pool} must be 1 or more")


def check_suits(intervention: Intervention, known: Sequence[str], masks: Sequence[str]) -> None:
    """Raise UserError if an intervention that has a method `check` is unsuitable for these values:
    those recorded, and those to ablate."""
    check = getattr(intervention, "check", None)
    if check is not None:
        check(known, masks)

"""Checks of attribute's settings that need no model."""

import dataclasses
from collections.abc import Sequence
from typing import cast

from vxdist.asking.checks import (
    check_asking,
    check_dilemmas,
    check_values,
    find_items,
    make_outcome,
)
from vxdist.asking.outcomes import OUTCOMES, Differentiable
from vxdist.components import find_class
from vxdist.config import Config, EvaluateConfig
from vxdist.corpus import Corpus, EvaluationItem
from vxdist.errors import UserError
from vxdist.runtime.checks import check_batches, check_model_run
from vxstore.identity import check_name
from vxstore.read import Store, open_store


def check_settings(config: Config, corpus: Corpus | None) -> None:
    """Raise UserError, naming the setting, if one is out of range, or names no value or outcome
    that there is.
    """
    settings = config.attribute
    if settings.outcome is not None:
        make_differentiable(config)
    check_name(config.attribution_name, "attribute.name")
    check_asking(config.evaluate)
    check_batches("attribute", settings.tokens_per_batch, settings.max_padding)
    if corpus is not None:
        check_values(config.evaluate, corpus)


def check_inputs(config: Config, corpus: Corpus | None, stages: Sequence[str]) -> None:
    """Raise UserError if dilemmas, prompts, model or store are missing, or the outcome or the
    strategy has no gradients; other stages of the same file need none.
    """
    assert corpus is not None
    outcome = make_differentiable(config)
    if config.trainer.strategy == "zero3":
        raise UserError(
            "trainer.strategy: zero3 cannot attribute: the weights of a layer are let go after its "
            "forward pass, and the backward pass needs them; use single or ddp, in bfloat16 and "
            "with attribute.checkpointing if memory is short"
        )
    check_model_run(config)
    items = find_items(config, corpus, config.attribute.dilemmas)
    check_dilemmas(config, len(items), "attribute.dilemmas")
    for item in items:
        outcome.prompts(item)
    if "locate" not in stages:
        check_labels(open_store(config.store), items)


def make_differentiable(config: Config) -> Differentiable:
    """The outcome to attribute. Raises UserError if there is none of its name, or it has no
    log-odds."""
    name = config.attributed_outcome
    if not hasattr(find_class(OUTCOMES, name, "attribute.outcome"), "log_odds"):
        able = [n for n in OUTCOMES if hasattr(find_class(OUTCOMES, n, ""), "log_odds")]
        raise UserError(
            f"attribute.outcome: {name} has no log-odds that can be attributed to neurons; choose "
            f"{' or '.join(able)}"
        )
    return cast(Differentiable, make_outcome(asking_settings(config)))


def asking_settings(config: Config) -> EvaluateConfig:
    """How the model is asked: the settings of evaluate, with the outcome that is attributed."""
    return dataclasses.replace(config.evaluate, outcome=config.attributed_outcome)


def check_labels(store: Store, items: Sequence[EvaluationItem]) -> None:
    """Raise UserError if a dilemma is of a value or a language that the store does not have."""
    root = store.root()  # raises if it is not complete
    for dim, setting in (("value", "evaluate.values"), ("language", "corpus.languages")):
        known = {str(label) for label in root[dim].values}
        for item in items:
            if (found := getattr(item, dim)) not in known:
                raise UserError(
                    f"{setting}: dilemma {item.id} is of {dim} {found}, and {store.path} has "
                    f"{', '.join(sorted(known))}; leave it out"
                )

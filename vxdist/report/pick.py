"""Which score and which evaluation a page shows.

Effects are shown unasked only beside the score whose neurons were ablated.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from vxdist.config import Config, ReduceConfig
from vxdist.errors import UserError
from vxdist.report.text import listing
from vxstore.query.lookup import default_score, names_with_effects, require_effect
from vxstore.read import Store


@dataclass(frozen=True, kw_only=True)
class Pick:
    """Names in the store; no evaluation is picked where `missing` says why, and what to do."""

    score: str
    evaluation: str | None
    missing: str = ""


def pick(config: Config, store: Store) -> Pick:
    """The score and the evaluation asked for, or those that belong together.

    Raises UserError (StoreError) if what was asked for is not in the store, or nothing says which
    of several scores to show.
    """
    evaluations = names_with_effects(store)
    name = _find_evaluation(config, store, evaluations)
    score = _find_score(config, store, name if name in evaluations else None)
    if name not in evaluations:
        return Pick(score=score, evaluation=None, missing=_not_evaluated(name, evaluations))
    made_from = _score_of(store, name)
    if config.report.evaluation is None and made_from not in ("", score):
        missing = (
            f"The evaluation {name} ablated neurons of the score {made_from}, not of {score}, so "
            f"its effects are not shown here; `vxdist report --report.evaluation {name}` shows "
            "them."
        )
        return Pick(score=score, evaluation=None, missing=missing)
    return Pick(score=score, evaluation=name)


def _find_evaluation(config: Config, store: Store, known: Sequence[str]) -> str:
    """The evaluation asked for; else that of the configuration; else the only one."""
    asked = config.report.evaluation
    if asked is not None:
        require_effect(store, asked)
    if asked is not None and asked not in known:
        raise UserError(
            f"report.evaluation: {store.path} has no finished evaluation {asked!r}; it has "
            f"{listing(known) or 'none'}"
        )
    if asked is not None:
        return asked
    named = [name for name in config.evaluation_names.values() if name in known]
    if named:
        return named[0]
    if config.evaluate.name is None and len(known) == 1:
        return known[0]
    return config.evaluation_name


def _find_score(config: Config, store: Store, evaluation: str | None) -> str:
    """The score asked for; else that of the evaluation; else that of the configuration."""
    known = store.names("scores")
    asked = config.report.score or config.reduce.name
    if asked is None and config.reduce.selector != ReduceConfig.selector:
        asked = config.reduce.selector if config.reduce.selector in known else None
    if asked is not None:
        return asked
    made_from = "" if evaluation is None else _score_of(store, evaluation)
    if made_from in known:
        return made_from
    return config.score_name if config.score_name in known else default_score(store)


def _score_of(store: Store, evaluation: str) -> str:
    """The score whose neurons an evaluation ablated; empty if it does not say."""
    return str(store.evaluation(evaluation).attrs.get("settings", {}).get("scores", ""))


def _not_evaluated(name: str, known: Sequence[str]) -> str:
    if not known:
        return (
            "The store has no finished evaluation yet. `vxdist evaluate` ablates the selected "
            "neurons and scores the dilemmas again; then run `vxdist report` again."
        )
    return (
        f"The store has no finished evaluation named {name}; it has {listing(known)}. "
        "`vxdist report --report.evaluation NAME` shows one of them."
    )

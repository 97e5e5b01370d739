"""Checks of reduce's settings, and of what a run will record for it."""

from collections.abc import Sequence

from vxdist.components import make_component
from vxdist.config import Config
from vxdist.corpus import Corpus
from vxdist.errors import UserError
from vxdist.plan import count_clusters
from vxdist.reduce.clusters import LEAST_CLUSTERS
from vxdist.reduce.selectors import SELECTORS, Selector
from vxdist.reduce.testing import Testing
from vxstore.identity import check_name


def make_selector(config: Config) -> Selector:
    """The selector of these settings. Raises UserError, naming the setting, if one is wrong."""
    settings = config.reduce
    selector: Selector = make_component(SELECTORS, settings.selector, settings, "reduce.selector")
    selector.check()
    Testing.of(config).check()
    check_name(config.score_name, "reduce.name")
    return selector


def check_settings(config: Config, corpus: Corpus | None) -> None:
    """Raise UserError, naming the setting, if one is out of range."""
    make_selector(config)


def check_inputs(config: Config, corpus: Corpus | None, stages: Sequence[str]) -> None:
    """Raise UserError if what locate will record cannot be reduced; a store says so itself."""
    if corpus is None or "locate" not in stages:
        return
    if len(corpus.values) < 2:
        raise UserError(
            f"corpus.values: {corpus.values[0]} is the only value, and reduce scores neurons over "
            "at least two; add a value, or run `vxdist locate` alone"
        )
    selector = make_selector(config)
    if hasattr(selector, "describe_source"):
        raise UserError(
            f"reduce.selector: {config.reduce.selector} reads what `vxdist attribute` writes; run "
            "`vxdist locate`, `vxdist attribute` and `vxdist reduce` in turn"
        )
    if getattr(selector, "needs_tests", ()):
        _check_clusters(config, corpus)
    missing = [n for n in selector.needs if n not in config.locate.statistics]
    if missing:
        raise UserError(
            f"reduce.selector: {config.reduce.selector} needs {', '.join(missing)}; add it to "
            "locate.statistics"
        )


def _check_clusters(config: Config, corpus: Corpus) -> None:
    """Raise UserError if no language will have enough clusters of every value to test neurons."""
    clusters = count_clusters(corpus.activation, config.locate.parts_per_group)
    least = {
        language: min((clusters.get((value, language), 0), value) for value in corpus.values)
        for language in corpus.languages
    }
    number, value = max(least.values())
    if number < LEAST_CLUSTERS:
        raise UserError(
            f"reduce.selector: {config.reduce.selector} tests neurons over at least "
            f"{LEAST_CLUSTERS} clusters of dilemmas of each value, and {value} will have {number}; "
            "raise corpus.stories_per_group or locate.parts_per_group, or set reduce.selector: vape"
        )

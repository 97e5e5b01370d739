"""Checks of reduce's settings, and of what a run will record for it."""

from collections.abc import Sequence

from vxdist.components import make_component
from vxdist.config import Config
from vxdist.corpus import Corpus
from vxdist.errors import UserError
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
    missing = [n for n in make_selector(config).needs if n not in config.locate.statistics]
    if missing:
        raise UserError(
            f"reduce.selector: {config.reduce.selector} needs {', '.join(missing)}; add it to "
            "locate.statistics"
        )

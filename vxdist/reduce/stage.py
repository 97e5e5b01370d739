"""The reduce stage: counts in, scores and selected neurons out. Needs no model and no torch."""

from collections.abc import Mapping
from typing import Any

from vxdist.config import Config
from vxdist.output import Output
from vxdist.progress import WorkProgress
from vxdist.ranks import is_first_rank
from vxdist.reduce.checks import make_selector
from vxdist.reduce.score import Thresholds, write_score
from vxdist.reduce.selectors import Selector
from vxdist.reduce.summary import summary_lines
from vxdist.reduce.testing import Testing
from vxstore.read import open_store
from vxstore.schema import POOLED


def run(config: Config, output: Output) -> None:
    """Score and test each language, and all of them pooled, and write scores/NAME.

    Raises UserError if the store is missing or not complete, a setting is out of range, or the
    name is taken by other settings.
    """
    if not is_first_rank():
        return
    name = config.score_name
    store = open_store(config.store)
    known = store.names("scores")
    progress = WorkProgress(
        "testing",
        store.root().sizes["layer"],
        "layers",
        shown=output.shown,
        seconds=config.trainer.progress_seconds,
        by_minute=True,
    )
    selector = make_selector(config)
    progress.start()
    try:
        thresholds = write_score(
            config.store,
            name,
            selector,
            kind=config.reduce.selector,
            config=config.kept("reduce"),
            testing=Testing.of(config),
            listing=getattr(config.reduce, "vape", None),
            threads=config.trainer.threads,
            advance=progress.advance,
        )
    finally:
        progress.stop()
    attrs = open_store(config.store).scores(name).attrs
    if name not in known:
        _say_found(selector, thresholds, attrs, output)
        return
    output.say(f"reduce: scores/{name} exists already")
    if "testing" not in attrs:
        output.say(
            "reduce: an earlier version made it, without tests; give another reduce.name to have "
            "the neurons tested"
        )


def _say_found(
    selector: Selector, thresholds: Thresholds, attrs: Mapping[str, Any], output: Output
) -> None:
    """What was selected in each language, and what can be claimed."""
    for language, found in thresholds.items():
        if language == POOLED and len(thresholds) == 2:
            continue  # of one language: the same again
        output.say(f"reduce: {language}: {selector.describe(found)}")
        for line in summary_lines(language, attrs):
            output.say(f"reduce: {language}: {line}")

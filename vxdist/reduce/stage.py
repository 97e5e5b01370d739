"""The reduce stage: counts in, scores and selected neurons out. Needs no model and no torch."""

from vxdist.config import Config
from vxdist.output import Output
from vxdist.ranks import is_first_rank
from vxdist.reduce.checks import make_selector
from vxdist.reduce.score import write_score
from vxstore.read import open_store
from vxstore.schema import POOLED


def run(config: Config, output: Output) -> None:
    """Score each language, and all of them pooled, and write scores/NAME.

    Raises UserError if the store is missing or not complete, a setting is out of range, or the
    name is taken by other settings.
    """
    if not is_first_rank():
        return
    kind, name = config.reduce.selector, config.score_name
    selector = make_selector(config)
    known = open_store(config.store).names("scores")
    kept = config.kept("reduce")
    thresholds = write_score(config.store, name, selector, kind=kind, config=kept)
    if name in known:
        output.say(f"reduce: scores/{name} exists already")
        return
    for language, found in thresholds.items():
        if language == POOLED and len(thresholds) == 2:
            continue  # of one language: the same again
        output.say(f"reduce: {language}: {selector.describe(found)}")

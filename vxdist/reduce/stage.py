"""The reduce stage: counts in, scores and selected neurons out. Needs no model and no torch."""

import dataclasses

from vxdist.config import Config
from vxdist.ranks import is_first_rank
from vxdist.reduce.score import write_score
from vxdist.reduce.selectors.vape import VapeSettings
from vxstore.identity import check_name, finished_alike


def run(config: Config) -> None:
    """Score each language, and all of them pooled, and write scores/NAME.

    Raises UserError if the store is missing or not complete, a setting is out of range, or the
    name is taken by other settings.
    """
    if not is_first_rank():
        return
    settings = dataclasses.asdict(config.reduce)
    name = settings["name"]
    check_name(name, "reduce.name")
    done = finished_alike(config.store, f"scores/{name}", {"settings": settings}, "reduce.name")
    thresholds = write_score(
        config.store, name, VapeSettings(**{k: v for k, v in settings.items() if k != "name"})
    )
    if done:
        print(f"reduce: scores/{name} is there already")
        return
    for language, found in thresholds.items():
        cut = (found["entropy_cut"] or float("nan")) / found["entropy_maximum"]
        unrouted = found.get("unrouted_count", 0)
        print(
            f"reduce: {language}: {found['selected_count']} neurons selected, entropy cut at "
            f"{cut:.3%} of its maximum, {found['dead_count']} dead neurons dropped"
            + (f", and {unrouted} whose expert saw no token of some value" if unrouted else "")
        )

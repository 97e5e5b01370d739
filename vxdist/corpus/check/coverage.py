"""What a corpus has of each value: items, stances, settings, rival motives, both languages."""

from collections.abc import Iterator, Sequence

from vxdist.corpus.check.findings import Checked, Finding, Table
from vxdist.corpus.check.settings import CheckConfig
from vxdist.corpus.check.text import Items
from vxdist.corpus.items import ActivationItem, EvaluationItem


def check_coverage(
    activation: Sequence[ActivationItem], evaluation: Sequence[EvaluationItem], config: CheckConfig
) -> Checked:
    """Count; warn of values with little variety, and of pairs that lack a language."""
    items: Items = [*activation, *evaluation]
    languages = [*dict.fromkeys(item.language for item in items)]
    findings = [
        *_incomplete(items, languages),
        *_in_both(activation, evaluation),
        *_thin(activation, evaluation, config),
    ]
    rows = []
    for value in dict.fromkeys(item.value for item in items):
        mine = [item for item in items if item.value == value]
        settings, rivals = ({getattr(i, k) for i in mine} - {""} for k in ("setting", "rival"))
        stories = [item for item in activation if item.value == value]
        rows.append(
            (
                value,
                len({item.pair for item in stories}),
                sum(item.stance == "aligned" for item in stories),
                sum(item.stance == "violating" for item in stories),
                sum(item.value == value for item in evaluation),
                len(settings),
                len(rivals),
            )
        )
        for what, found, least in (
            ("settings", settings, config.settings),
            ("rival motives", rivals, config.rivals),
        ):
            if len(found) < least:
                level = "warning" if found else "note"
                findings.append(
                    Finding(
                        level=level,  # type: ignore[arg-type]
                        kind="variety",
                        what=f"{value}: {len(found) or 'no'} {what} are named; {least} or more "
                        "make sure that the value is looked for and not a place or a motive",
                        weight=least - len(found),
                    )
                )
    columns = ("value", "stories' dilemmas", "aligned", "violating", "evaluation", "settings",
               "rivals")  # fmt: skip
    title = f"Items of each value, in {', '.join(languages)} together"
    return Checked(
        findings=findings, tables=[Table(name="coverage", title=title, columns=columns, rows=rows)]
    )


def _incomplete(items: Items, languages: Sequence[str]) -> Iterator[Finding]:
    """Pairs that lack one of the languages: languages are then compared by other dilemmas."""
    have: dict[tuple[str, str], set[str]] = {}
    for item in items:
        have.setdefault((item.pair, getattr(item, "stance", "")), set()).add(item.language)
    for (pair, stance), found in have.items():
        missing = [name for name in languages if name not in found]
        if missing:
            told = f"{pair} ({stance})" if stance else pair
            yield Finding(
                level="warning",
                kind="pair",
                what=f"{told} is in {', '.join(sorted(found))} only, not in {', '.join(missing)}",
                items=(pair,),
            )


def _in_both(
    activation: Sequence[ActivationItem], evaluation: Sequence[EvaluationItem]
) -> Iterator[Finding]:
    """Pairs that are in both splits."""
    both = {item.pair for item in activation} & {item.pair for item in evaluation}
    for pair in sorted(both):
        what = f"pair {pair} stands in both splits: neurons are tested on what they are found with"
        yield Finding(level="warning", kind="leakage", what=what, items=(pair,))


def _thin(
    activation: Sequence[ActivationItem], evaluation: Sequence[EvaluationItem], config: CheckConfig
) -> Iterator[Finding]:
    """Values with few dilemmas, or with one stance only."""
    for value in dict.fromkeys(item.value for item in activation):
        pairs = {
            split: len({item.pair for item in items if item.value == value})
            for split, items in (("stories'", activation), ("evaluation", evaluation))
        }
        for split, number in pairs.items():
            if number < config.dilemmas:
                yield Finding(
                    level="warning",
                    kind="variety",
                    what=f"{value} has {number or 'no'} {split} dilemmas; fewer than "
                    f"{config.dilemmas} say little of a value",
                    weight=config.dilemmas - number,
                )
        stances = {item.stance for item in activation if item.value == value}
        if len(stances) < 2:
            what = f"{value} has {next(iter(stances))} stories only"
            yield Finding(level="note", kind="variety", what=what)

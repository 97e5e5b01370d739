"""What a corpus has of each value: items, stances, settings, rival motives, both languages."""

from collections.abc import Iterator, Sequence

from vxdist.config import CheckConfig
from vxdist.corpus.check.findings import Checked, Finding, Table
from vxdist.corpus.check.text import Items
from vxdist.corpus.items import ActivationItem, EvaluationItem


def check_coverage(
    activation: Sequence[ActivationItem], evaluation: Sequence[EvaluationItem], config: CheckConfig
) -> Checked:
    """Count; warn of values with little variety, and of pairs that lack a language."""
    items: Items = [*activation, *evaluation]
    languages = [*dict.fromkeys(item.language for item in items)]
    rows, findings = [], [*_incomplete(items, languages), *_thin(activation, evaluation)]
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


def _thin(
    activation: Sequence[ActivationItem], evaluation: Sequence[EvaluationItem]
) -> Iterator[Finding]:
    """Values without evaluation dilemmas, or with one stance only."""
    for value in dict.fromkeys(item.value for item in activation):
        if not any(item.value == value for item in evaluation):
            what = f"{value} has no evaluation dilemmas: masks of it show nothing on itself"
            yield Finding(level="warning", kind="variety", what=what)
        stances = {item.stance for item in activation if item.value == value}
        if len(stances) < 2:
            what = f"{value} has {next(iter(stances))} stories only"
            yield Finding(level="note", kind="variety", what=what)

"""Coverage of each value: items, stances, settings, rival motives and languages."""

from collections.abc import Iterator, Sequence

from vxdist.corpus.check.findings import Checked, Finding, Table
from vxdist.corpus.check.settings import CheckConfig
from vxdist.corpus.items import ActivationItem, EvaluationItem

Labelled = Sequence[ActivationItem | EvaluationItem]


def check_coverage(
    activation: Sequence[ActivationItem], evaluation: Sequence[EvaluationItem], config: CheckConfig
) -> Checked:
    """Count items per value; warn of little variety and of pairs that lack a language."""
    items: Labelled = [*activation, *evaluation]
    languages = [*dict.fromkeys(item.language for item in items)]
    findings = [
        *_incomplete(items, languages),
        *_in_both(activation, evaluation),
        *_few_items(activation, evaluation, config),
    ]
    rows = []
    for value in dict.fromkeys(item.value for item in items):
        selected = [item for item in items if item.value == value]
        settings, rivals = ({getattr(i, k) for i in selected} - {""} for k in ("setting", "rival"))
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
        findings += [
            *_low_variety(value, "setting", len(settings), config.settings),
            *_low_variety(value, "rival motive", len(rivals), config.rivals),
        ]
    columns = ("value", "activation dilemmas", "aligned", "violating", "evaluation", "settings",
               "rivals")  # fmt: skip
    title = f"Items per value, {' and '.join(languages)} together"
    return Checked(
        findings=findings, tables=[Table(name="coverage", title=title, columns=columns, rows=rows)]
    )


def _low_variety(value: str, name: str, count: int, minimum: int) -> Iterator[Finding]:
    """A value with few settings or rival motives; only a note if it names none."""
    if count < minimum:
        noun = name if count == 1 else f"{name}s"
        yield Finding(
            level="warning" if count else "note",
            kind="variety",
            message=f"{value} has {count or 'no'} {noun}, expected at least {minimum}: neurons may "
            f"otherwise respond to the {name} instead of the value",
            weight=minimum - count,
        )


def _incomplete(items: Labelled, languages: Sequence[str]) -> Iterator[Finding]:
    """Pairs that lack a language: languages are then compared on different dilemmas."""
    seen: dict[tuple[str, str], set[str]] = {}
    for item in items:
        seen.setdefault((item.pair, getattr(item, "stance", "")), set()).add(item.language)
    for (pair, stance), found in seen.items():
        missing = [name for name in languages if name not in found]
        if missing:
            name = f"{pair} ({stance})" if stance else pair
            yield Finding(
                level="warning",
                kind="pair",
                message=f"{name} is only in {', '.join(sorted(found))}, "
                f"not in {', '.join(missing)}",
                items=(pair,),
            )


def _in_both(
    activation: Sequence[ActivationItem], evaluation: Sequence[EvaluationItem]
) -> Iterator[Finding]:
    """Pairs that occur in both splits."""
    both = {item.pair for item in activation} & {item.pair for item in evaluation}
    for pair in sorted(both):
        message = (
            f"pair {pair} is in both splits: neurons are tested on the data they are found with"
        )
        yield Finding(level="warning", kind="leakage", message=message, items=(pair,))


def _few_items(
    activation: Sequence[ActivationItem], evaluation: Sequence[EvaluationItem], config: CheckConfig
) -> Iterator[Finding]:
    """Values with few dilemmas, or with only one stance."""
    for value in dict.fromkeys(item.value for item in activation):
        pairs = {
            split: len({item.pair for item in items if item.value == value})
            for split, items in (("activation", activation), ("evaluation", evaluation))
        }
        for split, count in pairs.items():
            if count < config.dilemmas:
                noun = "dilemma" if count == 1 else "dilemmas"
                yield Finding(
                    level="warning",
                    kind="variety",
                    message=f"{value} has {count or 'no'} {split} {noun}, "
                    f"expected at least {config.dilemmas}",
                    weight=config.dilemmas - count,
                )
        stances = {item.stance for item in activation if item.value == value}
        if len(stances) < 2:
            message = f"{value} has only {next(iter(stances))} stories"
            yield Finding(level="note", kind="variety", message=message)

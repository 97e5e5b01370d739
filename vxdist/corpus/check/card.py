"""The figures of a corpus's card: its section `measured`, computed from the texts alone.

Rounded, so that a card can be compared with its corpus on any machine.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import yaml

from vxdist.corpus.check.coverage import check_coverage
from vxdist.corpus.check.cues import ALL, check_cues
from vxdist.corpus.check.dilemmas import group_stories
from vxdist.corpus.check.drift import check_drift
from vxdist.corpus.check.findings import Checked
from vxdist.corpus.check.information import check_information
from vxdist.corpus.check.lengths import check_lengths
from vxdist.corpus.check.settings import CheckConfig
from vxdist.corpus.check.stances import check_stances
from vxdist.corpus.check.text import split_words, text_fields
from vxdist.corpus.items import AnyItem
from vxdist.corpus.read import ReadCorpus

Rows = Sequence[Mapping[str, Any]]
SECTION = "measured"
NATS = ("information", "of value", "shuffled", "shuffled 95 %")


def measure(corpus: ReadCorpus, config: CheckConfig | None = None) -> dict[str, Any]:
    """Counts, length ranges, cues, stance pairs, lengths by value, drift, and setting by value.

    Lengths are in words (characters for Chinese), without punctuation; cues in %, with interval.
    """
    config = config or CheckConfig()
    activation, evaluation = corpus.activation.items, corpus.evaluation.items
    languages = group_stories(activation)
    tables = _rows(
        check_coverage(activation, evaluation, config),
        check_cues(activation, evaluation, config),
        check_lengths(languages, config),
        check_stances(languages, config),
        check_drift(languages, config),
        check_information(activation, evaluation, config),
    )
    return {
        "splits": _splits(corpus, tables["coverage"]),
        "lengths": _lengths([*activation, *evaluation, *corpus.neutral.items]),
        "cues": {
            f"{row['cue']} {row['target']} {row['language']}": _percent(row)
            for row in tables["cues"]
            if row["value"] == ALL
        },
        "stance_pairs": _by_value(tables["stances"], "both"),
        "stance_lengths": {
            row["language"]: _pick(row, "aligned", "violating", "t", "p")
            for row in tables.get("stance_lengths", ())
        },
        "value_lengths": _by_value(tables["value_lengths"], "mean"),
        "length_tests": {
            row["language"]: _pick(row, "spread %", "F", "p") for row in tables["length_tests"]
        },
        "drift": {row["language"]: _drift(row) for row in tables.get("drift", ())},
        "setting_by_value": {
            row["split"]: _pick(row, *(key for key in row if key != "split"))
            for row in tables.get("settings", ())
        },
    }


def to_yaml(measured: Mapping[str, Any]) -> str:
    """The section `measured` of a card, a line for each innermost mapping."""
    return yaml.safe_dump(
        {SECTION: dict(measured)}, allow_unicode=True, sort_keys=False, width=100,
        default_flow_style=None,
    )  # fmt: skip


def replace_measured(card: str, measured: Mapping[str, Any]) -> str:
    """The text of a card, whose last section becomes these figures; it is added if it is new."""
    kept = f"\n{card}".partition(f"\n{SECTION}:")[0].strip("\n")
    return f"{kept}\n{to_yaml(measured)}"


def _rows(*checked: Checked) -> dict[str, Rows]:
    return {
        table.name: [dict(zip(table.columns, row, strict=True)) for row in table.rows]
        for one in checked
        for table in one.tables
    }


def _splits(corpus: ReadCorpus, coverage: Rows) -> dict[str, Any]:
    """Dilemmas and items of each split, and the range of what the values have."""
    activation, evaluation = corpus.activation.items, corpus.evaluation.items
    splits: dict[str, Any] = {
        "activation": {
            "dilemmas": len({item.pair for item in activation}),
            "stories": len(activation),
            "dilemmas_per_value": _span(row["activation dilemmas"] for row in coverage),
        },
        "evaluation": {
            "dilemmas": len({item.pair for item in evaluation}),
            "items": len(evaluation),
            "dilemmas_per_value": _span(
                len({item.pair for item in evaluation if item.value == row["value"]})
                for row in coverage
            ),
        },
        "both": {key: _span(row[key] for row in coverage) for key in ("settings", "rivals")},
    }
    if corpus.neutral.items:
        splits["neutral"] = {
            "passages": len({item.pair for item in corpus.neutral.items}),
            "items": len(corpus.neutral.items),
        }
    return splits


def _lengths(items: Sequence[AnyItem]) -> dict[str, dict[str, list[int]]]:
    """The shortest and longest text of each kind, by language."""
    words: dict[str, dict[str, list[int]]] = {}
    for item in items:
        for field, text in text_fields(item):
            name = {"aligned": "option", "violating": "option", "text": "neutral"}.get(field, field)
            count = len(split_words(text))
            if count:
                words.setdefault(name, {}).setdefault(item.language, []).append(count)
    return {name: {g: _span(of) for g, of in found.items()} for name, found in words.items()}


def _span(numbers: Iterable[int]) -> list[int]:
    found = [*numbers]
    return [min(found), max(found)]


def _by_value(rows: Rows, key: str) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for row in rows:
        found.setdefault(row["value"], {})[row["language"]] = _round(key, row[key])
    return found


def _percent(row: Mapping[str, Any]) -> list[int]:
    return [round(100 * float(row[key])) for key in ("accuracy", "low", "high")]


def _drift(row: Mapping[str, Any]) -> dict[str, Any]:
    found = _pick(row, "first", "second", "t", "p")
    if row["accuracy"] is None:
        return found
    return {**found, "words": _percent(row), "p_of_words": _round("p", row["p of words"])}


def _pick(row: Mapping[str, Any], *keys: str) -> dict[str, Any]:
    names = {key: key.replace("%", "percent").replace(" ", "_") for key in keys}
    return {names[key]: _round(key, row[key]) for key in keys}


def _round(key: str, number: float | None) -> float | int | None:
    """p to two digits, nats and their fractions to three places, other figures to one."""
    if number is None or isinstance(number, int):
        return number
    if key == "p":
        return float(f"{number:.2g}")
    return round(number, 3 if key in NATS else 1)

"""Levels, tests and null checks, as tables for people."""

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from rich.console import Console

from vxstore.cli.output import new_console, print_table, print_title, print_wrapped
from vxstore.experts import ROUTED
from vxstore.query.evidence import Evidence
from vxstore.schema import POOLED
from vxstore.text import clean

LISTS = {
    "listed": "listed",
    "assignments": "assignments",
    "values_per_neuron": "values each",
    "assignments_supported": "supported",
    "below_cut_mean": "by chance",
    "below_cut_low": "5%",
    "below_cut_high": "95%",
    "false_share": "false",
    "noise_overlap": "shared with shuffled",
    "split_jaccard": "halves share",
    "shuffled_jaccard": "two shuffles share",
}
TOPIC = {
    "clusters": "clusters",
    "settings": "settings find",
    "values": "values find",
    "excess_at_999": "excess at 99.9%",
    "length_F": "length F",
    "length_p": "length p",
}
WHOLE = (
    "listed", "assignments", "neurons", "assignments_supported", "clusters", "settings", "values",
    "shuffled_most",
)  # fmt: skip
"""Columns of whole numbers."""


def with_titles(table: pd.DataFrame) -> pd.DataFrame:
    """The table with level and claim as one text, as in `4 stance`; empty without a level."""
    rows = zip(table["level"].tolist(), table["claim"].tolist(), strict=True)
    titles = [f"{level:.0f} {claim}" if claim else "" for level, claim in rows]
    return table.assign(level=titles).drop(columns="claim")


def show_counts(claimed: pd.DataFrame, evidence: Sequence[Evidence], level: int) -> None:
    """Print whether any neuron has a claim, and how many have each: `query.claimed`."""
    console = new_console()
    known = {of.language: of for of in evidence}
    console.print()
    rows = []
    for language, of_language in claimed.groupby("language", sort=False):
        of = known[str(language)]
        counts = {row["level"]: row for row in of_language.to_dict("records")}
        if not counts[level]["neurons"]:
            absent = next((f.absent for f in of.levels if f.claim.level == level), of.untested)
            reason = f" (not tested: {absent})" if absent else ""
            title = f"{level} {counts[level]['claim']}"
            print_wrapped(console, f"{language}: no neuron has claim {title}{reason}")
        rows.append([language, *(row["neurons"] for row in counts.values())])
    titles = dict.fromkeys(f"{n} {c}" for n, c in claimed[["level", "claim"]].to_numpy().tolist())
    console.print("neurons that have each claim")
    print_table(console, [("language", False), *((title, True) for title in titles)], rows)


def show_found(console: Console, score: Mapping[str, Any]) -> None:
    """Print the pairs found at each level of a score, from its attributes, as `vxstore info`."""
    tests, claims = _mapping(score.get("tests")), score.get("claims")
    if not tests:
        return
    names = [_mapping(claim) for claim in claims] if isinstance(claims, list) else []
    header = [("tested", False), *((f"{c.get('level')} {c.get('name')}", True) for c in names)]
    rows, reasons = [], []
    for language, of in tests.items():
        if language == POOLED and len(tests) == 2:
            continue  # of one language: the same again
        if reason := _mapping(of).get("untested"):
            reasons.append(f"{language} is untested: {reason}")
            continue
        found = _mapping(_mapping(of).get("found"))
        counts = (_mapping(found.get(str(claim.get("level")))) for claim in names)
        rows.append([language, *(count.get("assignments") for count in counts)])
    if rows and names:
        console.print("assignments of neurons to values at each level")
        print_table(console, header, rows)
    for reason in reasons:
        print_wrapped(console, reason)


def show_claims(console: Console, about: Mapping[str, Any]) -> None:
    """Print the tests of one neuron: those of `query.neuron`."""
    if "rivals" not in about:
        return
    table = with_titles(about["claims"])
    rows = [[_cell(cell) for cell in row.values()] for row in table.to_dict("records")]
    header = [(_heading(str(name)), name not in ("language", "value", "level")) for name in table]
    console.print()
    print_table(console, header, rows, _ends(rows), whole=["level"])
    rivals = about["rivals"]
    told = [
        f"{row['language']} {row['rival'] or '-'}"
        for row in rivals.to_dict("records")
        if "rival" in row
    ]
    if told:
        print_wrapped(console, f"rival (second most active for): {', '.join(told)}")
    print_wrapped(console, "`--clusters` shows its rates in each dilemma cluster")


def _heading(name: str) -> str:
    head = name.removesuffix("_value") if name in ("p_value", "q_value", "t_value") else name
    return head.replace("_", " ")


def _cell(item: Any) -> Any:
    return _figures(item) if isinstance(item, float) else item


def _figures(number: float, name: str = "") -> str:
    """Three figures, whatever the size; a dash for NaN."""
    if math.isnan(number):
        return "-"
    return f"{number:,.0f}" if name in WHOLE or abs(number) >= 1000 else f"{number:.3g}"


def show_clusters(about: Mapping[str, Any]) -> None:
    """Print rates of one neuron: for each language, clusters down and values across."""
    console = new_console()
    print_title(
        console, f"layer {about['layer']}, neuron {about['neuron']:,}: active on, by cluster"
    )
    for language, of in about["clusters"].groupby("language", sort=False):
        rates = of.pivot(index="cluster", columns="value", values="probability")
        values = list(dict.fromkeys(of["value"]))
        header = [("cluster", True), *((clean(value), True) for value in values)]
        rows = [
            [cluster, *("-" if math.isnan(rate) else f"{rate:.1%}" for rate in rate_V)]
            for cluster, rate_V in zip(rates.index, rates[values].to_numpy(), strict=True)
        ]
        console.print()
        print_title(console, str(language))
        print_table(console, header, rows)
    given = "tokens routed to its expert" if ROUTED in about["clusters"] else about["denominator"]
    print_wrapped(console, f"active tokens / {given}, summed over the tellings of a dilemma")


def show_null(found: Mapping[str, Any]) -> None:
    """Print the result of `query.null`."""
    console = new_console()
    print_title(console, f"{found['store']}, scores/{found['score']}")
    testing = ", ".join(f"{k} {_setting(v)}" for k, v in found["testing"].items())
    if testing:
        print_wrapped(console, f"tested with {testing}")
    levels = with_titles(found["levels"])
    for language, of in levels.groupby("language", sort=False):
        console.print()
        print_title(console, str(language))
        said = found["sentences"].get(language, {})
        _print_levels(console, of)
        _say(console, said, "levels")
        for name, columns in (("list", LISTS), ("topic", TOPIC)):
            _print_row(console, found[name], str(language), columns)
            _say(console, said, name)
            if name == "topic":
                _print_spread(console, found["spread"], str(language))
        _print_row(
            console,
            found["stability"],
            str(language),
            {"observed": "halves share", "shuffled": "halves share, shuffled"},
        )
        _say(console, said, "stability")
    _print_pairs(console, found)


def _print_pairs(console: Console, found: Mapping[str, Any]) -> None:
    """Print what pairs of languages share."""
    table = found["languages"]
    if not len(table):
        return
    console.print()
    print_title(console, "between languages")
    numbers = {"shared": "shared", "expected_other": "by other values",
               "expected_matched": "by layer and activity", "p_value": "p"}  # fmt: skip
    rows = [
        [row["pair"], row["of"], *(_figures(row[name], name) for name in numbers)]
        for row in table.to_dict("records")
    ]
    header = [("pair", False), ("neurons", False), *((head, True) for head in numbers.values())]
    print_table(console, header, rows)
    for sentence in found["pair_sentences"].values():
        print_wrapped(console, sentence)


def _setting(item: Any) -> str:
    return " ".join(map(str, item)) or "nothing" if isinstance(item, list) else str(item)


def _say(console: Console, said: Mapping[str, str], name: str) -> None:
    if name in said:
        print_wrapped(console, said[name])


def _print_levels(console: Console, levels: pd.DataFrame) -> None:
    rows = []
    for row in levels.to_dict("records"):
        rate, error = row["any_rate"], row["any_rate_se"]
        any_rate = "-" if math.isnan(rate) else f"{rate:.1%}"
        if not math.isnan(error) and not math.isnan(rate):
            any_rate += f" +- {error:.1%}"
        counts = [
            _figures(row[name], name) for name in ("neurons", "assignments", "shuffled_mean",
                                                   "shuffled_most")
        ]  # fmt: skip
        settings = "" if math.isnan(row["settings"]) else _figures(row["settings"], "settings")
        rows.append([row["level"], *counts, any_rate, settings, row["calibrated"]])
    heads = ("neurons", "assignments", "shuffled", "most", "any", "settings")
    header = [("level", False), *((head, True) for head in heads), ("holds under shuffles", False)]
    print_table(console, header, rows, whole=["level", "any"])


def _print_row(
    console: Console, table: pd.DataFrame, language: str, columns: Mapping[str, str]
) -> None:
    """Print the row of one language, without what is not recorded."""
    for row in table[table["language"] == language].to_dict("records"):
        known = {name: row[name] for name in columns if not math.isnan(row[name])}
        if known:
            console.print()
            header = [(columns[name], True) for name in known]
            print_table(console, header, [[_figures(x, name) for name, x in known.items()]])


def _print_spread(console: Console, spread: pd.DataFrame, language: str) -> None:
    rows = [
        [row["value"], _figures(row["clusters"], "clusters"), *map(_figures, (row["z_sd"],
         row["z_sd_stance"]))]
        for row in spread[spread["language"] == language].to_dict("records")
    ]  # fmt: skip
    if rows:
        heads = ("clusters", "spread of level 1", "spread of stance")
        print_table(console, [("value", False), *((head, True) for head in heads)], rows)


def _ends(rows: Sequence[Sequence[Any]]) -> list[bool]:
    return [row[0] != after[0] for row, after in itertools.pairwise(rows)]


def _mapping(item: Any) -> Mapping[str, Any]:
    return item if isinstance(item, Mapping) else {}

"""Measure the bundled seed again, and run the commands of the `console` blocks of the pages.

python docs/refresh.py        (tests/test_docs.py fails where a page or a card is behind)

Every card of the seed gets what is measured of its texts as its last section, `measured`; tables of
the pages between `<!-- measured: NAME -->` and `<!-- end -->` show that of the newest edition.
"""

import contextlib
import io
import os
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any
from unittest import mock

from vxdist.cli import main
from vxdist.corpus.check.card import measure, replace_measured
from vxdist.corpus.editions import BUILTIN, NEWEST, builtin_folder
from vxdist.corpus.read import read_corpus

FOLDER = Path(__file__).parent
WIDTH = "100"
BLOCK = re.compile(r"```console\n\$ (?P<command>.*?[^\\])\n(?P<output>.*?)```\n", re.DOTALL)

TABLE = re.compile(r"<!-- measured: (?P<name>[a-z_]+) -->\n.*?<!-- end -->\n", re.DOTALL)
CUES = {
    "length options": "the longer option is the aligned one",
    "mention options": "the dilemma mentions the aligned option first",
    "words options": "a bag of words finds the aligned option",
    "words stances": "a bag of words finds the stance of a story",
}
Measured = Mapping[str, Any]


def refresh(page: str) -> str:
    """A page with what its commands print now, and what is measured of the seed now."""
    return BLOCK.sub(_run, TABLE.sub(_tabulate, page))


def refresh_card(path: str) -> str:
    """The text of the card of an edition of the seed, with what is measured now."""
    text = (builtin_folder(path) / "card.yaml").read_text(encoding="utf-8")
    return replace_measured(text, _measure(path))


@cache
def _measure(path: str) -> Measured:
    return measure(read_corpus(path))


def _tabulate(block: re.Match[str]) -> str:
    table = TABLES[block["name"]](_measure(NEWEST))
    return f"<!-- measured: {block['name']} -->\n{table}<!-- end -->\n"


def _table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(map(str, line))} |\n" for line in lines)


def _span(ends: Sequence[int]) -> str:
    return str(ends[0]) if ends[0] == ends[1] else f"{ends[0]} to {ends[1]}"


def _percent(of: Sequence[int]) -> str:
    return f"{of[0]} ({of[1]}-{of[2]})"


def _splits(of: Measured) -> str:
    activation, evaluation, both = (of["splits"][k] for k in ("activation", "evaluation", "both"))
    pairs = [n for by_language in of["stance_pairs"].values() for n in by_language.values()]
    rows = [
        ("activation dilemmas", activation["dilemmas"], _span(activation["dilemmas_per_value"])),
        ("activation dilemmas told in both stances", "", _span([min(pairs), max(pairs)])),
        ("stories, over languages and stances", activation["stories"], ""),
        ("evaluation dilemmas", evaluation["dilemmas"], _span(evaluation["dilemmas_per_value"])),
        ("evaluation items, over languages", evaluation["items"], ""),
        ("settings", "", _span(both["settings"])),
        ("rival motives", "", _span(both["rivals"])),
    ]
    if "neutral" in of["splits"]:
        rows.append(("neutral passages", of["splits"]["neutral"]["passages"], ""))
    return _table(("", "number", "per value"), rows)


def _lengths(of: Measured) -> str:
    languages = [*next(iter(of["lengths"].values()))]
    rows = [
        (name, *(_span(by_language[g]) for g in languages))
        for name, by_language in of["lengths"].items()
    ]
    return _table(("words", *languages), rows)


def _cues(of: Measured) -> str:
    languages = [*of["length_tests"]]
    rows = [
        (text, *(_percent(of["cues"][f"{cue} {g}"]) for g in languages))
        for cue, text in CUES.items()
    ]
    return _table(("cue", *languages), rows)


def _values(of: Measured) -> str:
    languages = [*of["length_tests"]]
    rows: list[Sequence[object]] = [
        (value, *(by_language[g] for g in languages))
        for value, by_language in of["value_lengths"].items()
    ]
    rows += [
        (text, *(of["length_tests"][g][key] for g in languages))
        for key, text in (("spread_percent", "longest over shortest, %"), ("F", "F"), ("p", "p"))
    ]
    return _table(("value", *languages), rows)


def _halves(of: Measured) -> str:
    rows = [
        (
            language,
            *(f"{part[k]:g}" for k in ("first", "second", "t", "p")),
            _percent(part["words"]),
        )
        for language, part in of["drift"].items()
    ]
    return _table(("language", "first half", "second half", "t", "p", "by words, %"), rows)


def _stances(of: Measured) -> str:
    keys = ("aligned", "violating", "t", "p")
    rows = [(g, *(part[k] for k in keys)) for g, part in of["stance_lengths"].items()]
    return _table(("language", *keys), rows)


def _settings(of: Measured) -> str:
    keys = ("settings", "information", "of_value", "shuffled", "shuffled_95_percent", "p")
    rows = [(split, *(part[k] for k in keys)) for split, part in of["setting_by_value"].items()]
    head = ("settings", "nats", "of the value's entropy", "shuffled", "95 % of shuffled", "p")
    return _table(("split", *head), rows)


TABLES: Mapping[str, Callable[[Measured], str]] = {
    "splits": _splits,
    "lengths": _lengths,
    "cues": _cues,
    "values": _values,
    "drift": _halves,
    "stances": _stances,
    "settings": _settings,
}
"""What a page can have between its marks."""


def _run(block: re.Match[str]) -> str:
    words = shlex.split(block["command"])
    assert words[0] == "vxdist", words
    with (
        mock.patch.dict(os.environ, {"COLUMNS": WIDTH}),
        contextlib.chdir(FOLDER.parent),
        contextlib.redirect_stdout(io.StringIO()) as printed,
    ):
        assert main(words[1:]) == 0
    lines = [line.rstrip() for line in printed.getvalue().splitlines()]
    return f"```console\n$ {block['command']}\n" + "\n".join(lines) + "\n```\n"


def refresh_all() -> None:
    """Refresh every card and page."""
    for path in BUILTIN:
        card = refresh_card(path)
        (builtin_folder(path) / "card.yaml").write_text(card, encoding="utf-8")
    for file in sorted(FOLDER.glob("*.md")):
        page = file.read_text(encoding="utf-8")
        file.write_text(refresh(page), encoding="utf-8")


if __name__ == "__main__":
    refresh_all()

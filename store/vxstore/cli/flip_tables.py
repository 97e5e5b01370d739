"""How the dilemmas whose decision flipped are shown to people, with their texts."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.text import Text

from vxstore.cli.effect_headings import show_headings
from vxstore.cli.numbers import digits_for, signed
from vxstore.cli.output import new_console, print_title, print_wrapped
from vxstore.query.dilemmas import OPTIONS
from vxstore.text import clean, plural

INDENT = 2


def show_flips(answers: Sequence[Mapping[str, Any]]) -> None:
    """For each evaluation, the dilemmas that flipped, with their texts where there are any."""
    console = new_console()
    show_headings(console, answers)
    for answer in answers:
        console.print()
        flipped = answer["dilemmas"].to_dict("records")
        print_title(
            console, f"{answer['store']}, evaluation/{answer['evaluation']}: {_count_flips(answer)}"
        )
        if answer["texts"] and flipped:
            print_wrapped(console, answer["texts"])
        digits = digits_for(
            max((abs(d[k]) for d in flipped for k in ("before", "after")), default=0)
        )
        for row in flipped:
            before, after = (signed(row[key], digits) for key in ("before", "after"))
            where = f"{row['id']} ({row['value']}, {row['language']}), {row['mask']} ablated"
            console.print(clean(f"{where}: {before} -> {after}"), soft_wrap=True)
            if row["dilemma"] is not None:
                _print_text(console, row["dilemma"])
                for name in OPTIONS:
                    _print_text(console, f"{name}: {row[name]}")
            elif not answer["texts"]:
                _print_text(console, "(not in the corpus)")


def _print_text(console: Console, text: str) -> None:
    """Indented, and broken where it must be: Chinese has no spaces."""
    for line in Text(clean(text)).wrap(console, console.width - INDENT):
        console.print(" " * INDENT + line.plain.rstrip(), soft_wrap=True)


def _count_flips(answer: Mapping[str, Any]) -> str:
    if answer["decision_boundary"] is None:
        return f"{answer['outcome']} has no decision that could flip"
    count = len(answer["dilemmas"])
    return f"{plural(count, 'decision')} flipped"

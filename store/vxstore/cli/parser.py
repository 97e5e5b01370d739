"""Parsing arguments: errors on one line, as in all of vxstore and vxdist; neurons, numbers."""

import argparse
import re
from typing import Any, NoReturn

from vxstore.errors import UserError

_NUMBER = r"(-?\d[\d,]{0,15})"  # tables print 1,114
PLACES = (
    rf"{_NUMBER} {_NUMBER}",
    rf"{_NUMBER} {_NUMBER}\.{_NUMBER}",
    rf"[Ll]{_NUMBER}/[Nn]{_NUMBER}",
    rf"[Ll]{_NUMBER}/[Ee]{_NUMBER}/[Uu]{_NUMBER}",
    rf"[Ll]{_NUMBER}/[Bb]{_NUMBER}/[Ee]{_NUMBER}/[Uu]{_NUMBER}",
    rf"[Ll]{_NUMBER}/[Bb]{_NUMBER}/[Uu]{_NUMBER}",
)
"""How a neuron is written: LAYER NEURON, LAYER EXPERT.UNIT, L29/N1114, L3/E2/U5 or, where layers
have several blocks, L3/B1/E2/U5 and, in a dense one, L3/B0/U5."""


class Parser(argparse.ArgumentParser):
    """Raises UserError where argparse would print its usage and exit."""

    def error(self, message: str) -> NoReturn:
        """Raise UserError with the message, and where to find help."""
        raise UserError(f"{message} (see `{self.prog} --help`)")


class Place(argparse.Action):
    """Sets `layer` and `neuron`, a number, (expert, unit) or (block, expert, unit), from any of
    `PLACES`."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        text = " ".join(values)
        for pattern in PLACES:
            if found := re.fullmatch(pattern, text):
                layer, *neuron = (int(number.replace(",", "")) for number in found.groups())
                if "/B" in text.upper() and len(neuron) == 2:
                    neuron.insert(1, -1)  # of a dense block
                namespace.layer = layer
                namespace.neuron = neuron[0] if len(neuron) == 1 else tuple(neuron)
                return
        raise argparse.ArgumentError(
            self, f"found {text!r}, expected LAYER NEURON, LAYER EXPERT.UNIT, L29/N1114 or L3/E2/U5"
        )


def positive(text: str) -> int:
    """A whole number above zero."""
    number = int(text)  # argparse reports a ValueError
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} must be at least 1")
    return number


def level(text: str) -> int:
    """A whole number, 0 or above."""
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError(f"{text} must be at least 0")
    return number

"""The argument parser of commands with options of their own; it reports errors in one line."""

import argparse
from collections.abc import Sequence

from vxdist.errors import UserError, find_near
from vxstore.cli.parser import Parser

__all__ = ["Parser", "check_unknown"]


def check_unknown(parser: argparse.ArgumentParser, settings: Sequence[str]) -> None:
    """Refuse options without a section (all settings have one) that are not the command's own."""
    options = [name for action in parser._actions for name in action.option_strings]
    known = ("--config", "--store", "--print_config", "--take_over", "--take-over")
    for option in (text.partition("=")[0] for text in settings if text.startswith("--")):
        if "." not in option and option not in known:
            near = find_near(option, [*options, *known])
            hint = f"did you mean {near}?" if near else f"see `{parser.prog} --help`"
            raise UserError(f"option {option} is not known; {hint}")

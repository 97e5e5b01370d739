"""The `vxstore` command: queries of a store, answered as a table, JSON or CSV."""

import argparse
import importlib
import io
import sys
from collections.abc import Sequence
from typing import NoReturn

from vxstore.cli.parser import Parser, Place, level, positive
from vxstore.cli.signals import STOPPED, stoppable
from vxstore.defaults import DEFAULT_SELECTOR
from vxstore.errors import UserError, describe_disk

DONE, USER_ERROR = 0, 2


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code (0: done, 2: user error, fixable, 3: stopped)."""
    try:
        with stoppable():
            return _main(argv)
    except KeyboardInterrupt as error:
        print(str(error) or "stopped; run the same command again", file=sys.stderr)
        return STOPPED


def _main(argv: Sequence[str] | None) -> int:
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # Names that the terminal cannot show must not stop a command.
            stream.reconfigure(errors="backslashreplace")
    try:
        parser = _parser()
        arguments, options = parser.parse_known_args(argv)
        if options and arguments.command != "select":
            parser.error(f"unrecognized arguments: {' '.join(options)}")
        arguments.options = options
        commands = importlib.import_module("vxstore.cli.commands")  # slow to import
        getattr(commands, arguments.command)(arguments)
        sys.stdout.flush()
    except SystemExit as leaving:  # --help, --version
        return int(leaving.code or DONE)
    except UserError as error:
        from vxstore.text import clean

        print(f"error: {clean(error)}", file=sys.stderr)
        return USER_ERROR
    except MemoryError:
        print("error: this machine has too little memory for that question", file=sys.stderr)
        return USER_ERROR
    except BrokenPipeError:  # the reader, such as `head`, has left
        from vxstore.cli.output import drop_output

        drop_output()
    except OSError as error:
        message = describe_disk(error)
        if message is None:
            raise
        print(f"error: {message}", file=sys.stderr)
        return USER_ERROR
    return DONE


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog="vxstore", description="Query the activation stores that vxdist writes.")
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version")
    commands = parser.add_subparsers(metavar="COMMAND", required=True, dest="command")

    def command(name: str, about: str, *stores: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=about, description=about, allow_abbrev=False)
        added.add_argument("store", metavar=stores[0], help="path or URL of an activation store")
        for store in stores[1:]:
            added.add_argument(
                "other", metavar=store, help="path or URL of another store, or the same"
            )
        added.add_argument(
            "--format", choices=("table", "json", "csv"), default="table", help="default: table"
        )
        return added

    about = "what the store contains, how complete it is, and what was derived from it"
    _add_info(command("info", about, "STORE"))
    _add_top(command("top", "the selected neurons that a score ranks first", "STORE"))
    _add_neuron(command("neuron", "everything known about one neuron", "STORE"))
    _add_score(command("null", "what the tests find, and what they find in shuffled data", "STORE"))
    _add_layers(command("layers", "how many neurons are selected in each layer", "STORE"))
    _add_compare(command("compare", "how similar two selections of one model are", "A", "B"))
    _add_effects(command("effects", "what ablating each value's neurons did", "STORE"))
    _add_answers(command("answers", "what the model answered, intact and ablated", "STORE"))
    _add_doses(command("doses", "how effects follow the dose of `scale`", "STORE"))
    _add_select(command("select", "select again, with other settings", "STORE"))
    _add_export(command("export", "write a selection or the counts to a file", "STORE"))
    _add_check(command("check", "verify an entire store, and name what is damaged", "STORE"))
    return parser


def _add_info(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--settings",
        metavar="NAME",
        help="print, as YAML for --config, what made `record`, a score or an evaluation",
    )
    parser.add_argument(
        "--evaluation",
        metavar="NAME",
        help="print how this evaluation asked the model, with a prompt in each language",
    )


def _add_top(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--value", help="only neurons that belong to this value")
    _add_language(parser)
    parser.add_argument("--k", type=positive, default=10, help="neurons per language; default: 10")
    parser.add_argument(
        "--level",
        type=level,
        default=0,
        help="neurons that have this claim, selected or not: 1 differs, 2 stands out, 3 exclusive, "
        "4 stance; default: the selected ones",
    )
    _add_score(parser)


def _add_neuron(parser: argparse.ArgumentParser) -> None:
    parser.usage = "%(prog)s [options] STORE LAYER NEURON"
    parser.add_argument(
        "place",
        nargs="+",
        action=Place,
        metavar="NEURON",
        help="LAYER NEURON or LAYER EXPERT.UNIT, all from 0; or as tables print neurons: "
        "L29/N1114, L3/E2/U5",
    )
    parser.add_argument(
        "--clusters", action="store_true", help="only its rates in each dilemma cluster"
    )
    _add_score(parser)


def _add_layers(parser: argparse.ArgumentParser) -> None:
    _add_language(parser)
    _add_score(parser)


def _add_compare(parser: argparse.ArgumentParser) -> None:
    _add_score(parser)
    parser.add_argument("--score-b", metavar="SCORE", help="score of B; default: as for A")


def _add_effects(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("other", metavar="STORE2", nargs="?", help="another, to show beside it")
    parser.add_argument(
        "--evaluation",
        metavar="NAME",
        action="append",
        help="name of the evaluation; may be given again; default: the only one, or choice",
    )
    parser.add_argument("--value", help="only dilemmas of this value")
    parser.add_argument("--mask", metavar="VALUE", help="only the mask of this value")
    parser.add_argument("--language", help="only this language")
    parser.add_argument("--own", action="store_true", help="only masks on their own value")
    parser.add_argument(
        "--dilemmas", action="store_true", help="list the dilemmas that flipped, with their texts"
    )
    parser.add_argument(
        "--corpus", metavar="DIR", help="corpus with the texts; default: the one that was recorded"
    )


def _add_answers(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--evaluation", metavar="NAME", help="name of the evaluation; default: the only one"
    )
    parser.add_argument(
        "--value", help="only dilemmas of this value, intact and under its own mask"
    )
    parser.add_argument("--language", help="only this language")


def _add_doses(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--evaluation",
        metavar="NAME",
        action="append",
        help="curve that holds this evaluation; may be given again; default: the latest curve",
    )
    parser.add_argument("--mask", metavar="VALUE", help="only the mask of this value")
    parser.add_argument("--language", help="only this language")
    parser.add_argument("--all", action="store_true", help="masks on other values' dilemmas too")


def _add_select(parser: argparse.ArgumentParser) -> None:
    parser.epilog = (
        "Further options are settings of the selector, as in --top-fraction 0.001; `vxdist reduce "
        "--help` lists them as reduce.SELECTOR.SETTING."
    )
    parser.add_argument("--name", required=True, help="name of the new score")
    parser.add_argument(
        "--from",
        dest="base",
        metavar="SCORE",
        help="score whose settings apply where none is given; default: the only score",
    )
    parser.add_argument("--selector", help="default: the selector of that score")
    _add_take_over(parser)


def _add_export(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "out", metavar="OUT", help="file to write: .csv, .parquet, or .json for a mask file"
    )
    parser.add_argument(
        "--what",
        choices=("neurons", "counts", "effects", "dilemmas"),
        default="neurons",
        help="neurons: the selected ones (default); counts: those of every neuron; effects: of each"
        " mask by value and language; dilemmas: what was measured of each",
    )
    parser.add_argument(
        "--evaluation",
        metavar="NAME",
        help="whose effects or dilemmas; default: the only one, or choice",
    )
    parser.add_argument(
        "--value", action="append", help="only this value; may be given several times"
    )
    parser.add_argument(
        "--language", action="append", help="only this language or pooled; may be repeated"
    )
    _add_score(parser)
    parser.add_argument("--force", action="store_true", help="replace OUT if it exists")


def _add_check(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--repair",
        action="store_true",
        help="rebuild what is damaged: un-seal bad parts, remove bad scores and evaluations",
    )
    _add_take_over(parser)


def _add_take_over(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--take-over",
        action="store_true",
        help="write although another run holds the lock of the store",
    )


def _add_language(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--language", help="a language, or pooled; default: all recorded")


def _add_score(parser: argparse.ArgumentParser) -> None:
    default = f"the only one, or else {DEFAULT_SELECTOR}"
    parser.add_argument("--score", help=f"name of the score; default: {default}")


class _Version(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> NoReturn:
        from importlib.metadata import version

        print(f"vxstore {version('vxdist')}")
        parser.exit()

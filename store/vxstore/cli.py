"""The `vxstore` command: questions to a store, answered as a table, JSON or CSV."""

import argparse
import contextlib
import io
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, NoReturn

from vxstore.errors import StoreError, UserError

if TYPE_CHECKING:  # imported where it is used, so that --help stays quick
    from vxstore.read import Store

DONE, MEND = 0, 2


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code (0 done, 2 the user can mend it)."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A name that the terminal cannot show is no reason to stop.
            stream.reconfigure(errors="backslashreplace")
    try:
        arguments = _parser().parse_args(argv)
        arguments.run(arguments)
        sys.stdout.flush()
    except SystemExit as leaving:  # --help, --version
        return int(leaving.code or DONE)
    except UserError as error:
        from vxstore.show import clean

        print(f"error: {clean(error)}", file=sys.stderr)
        return MEND
    except BrokenPipeError:  # the reader, such as `head`, has seen enough
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return DONE


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """One line, like every other error."""
        raise UserError(f"{message} (see `{self.prog} --help`)")


def _parser() -> argparse.ArgumentParser:
    shared = _Parser(add_help=False)
    shared.add_argument("store", metavar="STORE", help="path of an activation store")
    shared.add_argument(
        "--format", choices=("table", "json", "csv"), default="table", help="default: table"
    )
    parser = _Parser(prog="vxstore", description="Query the activation stores that vxdist writes.")
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    about = "what the store is of, how far it is, and what was derived from it"
    info = commands.add_parser("info", parents=[shared], help=about, description=about)
    info.set_defaults(run=_info)

    about = "the selected neurons of lowest entropy"
    top = commands.add_parser("top", parents=[shared], help=about, description=about)
    top.add_argument("--value", help="only neurons that belong to this value")
    top.add_argument("--language", help="a language or pooled; default: every language recorded")
    top.add_argument("--k", type=_positive, default=10, help="neurons a language; default: 10")
    top.add_argument("--score", default="vape", help="name of the score; default: vape")
    top.set_defaults(run=_top)
    return parser


class _Version(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> NoReturn:
        from importlib.metadata import version

        print(f"vxstore {version('vxdist')}")
        parser.exit()


def _positive(text: str) -> int:
    number = int(text)  # argparse tells of a ValueError
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} must be at least 1")
    return number


def _open(path: str) -> "Store":
    from vxstore.read import open_store

    try:
        return open_store(path)
    except (OSError, ImportError) as error:  # no permission; a URL whose package is missing
        raise StoreError(f"cannot open {path}: {error}") from error


def _info(arguments: argparse.Namespace) -> None:
    from vxstore import query, show

    about = query.describe(_open(arguments.store))
    if arguments.format == "json":
        show.print_json(about)
    elif arguments.format == "csv":
        show.print_csv(("field", "value", "language", "content"), show.facts(about))
    else:
        show.show_info(about)


def _top(arguments: argparse.Namespace) -> None:
    from vxstore import query, show

    neurons = query.top(
        _open(arguments.store),
        value=arguments.value,
        language=arguments.language,
        k=arguments.k,
        score=arguments.score,
    )
    rows = [{str(name): item for name, item in row.items()} for row in neurons.to_dict("records")]
    if arguments.format == "json":
        show.print_json(rows)
    elif arguments.format == "csv":
        show.print_csv([str(name) for name in neurons], (row.values() for row in rows))
    else:
        whose = f"neurons of {arguments.value}" if arguments.value else "selected neurons"
        show.show_neurons(rows, f"{whose}, lowest {arguments.score} entropy first")

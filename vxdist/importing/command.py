"""The `vxdist import` command: its options and its output."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from vxdist.components import find_class
from vxdist.errors import UserError
from vxdist.parser import Parser
from vxstore.text import plural

FORMATS = {"lape": "vxdist.importing.lape:read_lape"}
"""Formats of counts, and the function that reads a file of each."""
_FORMAT_HELP = "lape: dictionaries with over_zero, written by torch.save"
DENOMINATORS = {
    "tokens": "token_num or n, for probabilities of at most 1",
    "questions": "question_num, as in ValueExploration's code, for active tokens per question",
}
_DIVIDE_BY = ", or ".join(f"{name} ({text})" for name, text in DENOMINATORS.items())


def run(arguments: Sequence[str]) -> None:
    """Read count files and write them as a store.

    Raises UserError, before anything is written, if an option, a label or a file is invalid.
    """
    options = _parser().parse_intermixed_args(list(arguments))
    _check(options)
    # These import torch and zarr, which are slow to load.
    from vxdist.importing.labels import find_labels, in_order
    from vxdist.importing.store import read_parts, warn_above_one, write_store

    labels = find_labels(
        [Path(file) for file in options.files],
        pattern=options.pattern,
        given=options.label,
        language=options.language,
    )
    read = find_class(FORMATS, options.format, "FORMAT")
    parts = read_parts(options.files, labels, options.denominator, read)
    written = write_store(
        options.store,
        parts,
        kind=options.format,
        denominator=options.denominator,
        model=options.model,
        take_over=options.take_over,
    )
    if not written:
        print(f"import: {options.store} exists already, made of these files")
        return
    for part in parts:
        print(
            f"import: {part.file}: value {part.labels.value}, language {part.labels.language}, "
            f"stance {part.labels.stance}, {part.divisor:,} {options.denominator}"
        )
    num_layers, num_neurons = parts[0].counts.active_count_LN.shape
    print(
        f"import: {plural(len(parts), 'file')}, "
        f"{plural(len(in_order(p.value for p in labels)), 'value')} in "
        f"{', '.join(in_order(p.language for p in labels))}, {plural(num_layers, 'layer')} of "
        f"{num_neurons:,} neurons, in {options.store}"
    )
    warn_above_one(parts)


def _parser() -> Parser:
    parser = Parser(
        prog="vxdist import",
        description="Turn counts recorded by other software into an activation store.",
        epilog="`vxdist reduce`, `vxstore info` and `vxstore top` then work on the store.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "format",
        metavar="FORMAT",
        choices=tuple(FORMATS),
        help=_FORMAT_HELP,
    )
    parser.add_argument("files", metavar="FILE", nargs="+", help="count file written by torch.save")
    parser.add_argument(
        "--store", required=True, help="path or URL of the activation store to create"
    )
    parser.add_argument(
        "--denominator",
        choices=tuple(DENOMINATORS),
        help=f"required; what to divide counts by: {_DIVIDE_BY}",
    )
    parser.add_argument(
        "--pattern",
        help="pattern of the file names, with {value} and optionally {language} and {stance}, such "
        "as '{value}-{stance}.pt' or '{language}/{value}.pt'; default: the name without its suffix "
        "is the value",
    )
    parser.add_argument(
        "--language", help="language of files whose names do not include one, such as zh"
    )
    parser.add_argument(
        "--label",
        metavar="FILE=VALUE[:LANGUAGE[:STANCE]]",
        action="append",
        default=[],
        help="labels of one file, whatever its name; may be repeated",
    )
    parser.add_argument(
        "--model", default="unknown", help="name of the model that was counted; default: unknown"
    )
    text = "write the store even though another run holds its lock; make sure that run is over"
    parser.add_argument("--take-over", "--take_over", action="store_true", help=text)
    return parser


def _check(options: argparse.Namespace) -> None:
    if options.denominator is None:
        raise UserError(f"--denominator is missing; choose what to divide by: {_DIVIDE_BY}")
    for file in options.files:
        if not file.isprintable():
            raise UserError(f"{file!r}: the file name has unprintable characters; rename it")

"""The `vxdist corpus import` command: its options, and what it prints."""

import argparse
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from vxdist.corpus.importing.account import Column
from vxdist.corpus.importing.collect import Collected
from vxdist.corpus.importing.columns import import_rows
from vxdist.corpus.importing.cvoice_release import read_release
from vxdist.corpus.importing.existing import (
    LOG,
    ExistingCorpus,
    check_target,
    extend_card,
    merge,
    read_existing,
)
from vxdist.corpus.importing.labels import Labels
from vxdist.corpus.importing.mapping import ColumnMap, parse_pairs
from vxdist.corpus.importing.published import read_cvc, read_valuecsv
from vxdist.corpus.importing.rows import Row, read_hugging_face, read_jsonl, read_parquet
from vxdist.corpus.importing.tables import read_csv, read_excel
from vxdist.corpus.lines import MOST_SHOWN
from vxdist.corpus.write import replace_file, write_corpus
from vxdist.errors import UserError
from vxdist.parser import Parser
from vxstore.cli.output import new_console, print_table, print_title, print_wrapped
from vxstore.text import plural

if TYPE_CHECKING:
    from rich.console import Console

TABLES = ("jsonl", "csv", "excel", "parquet", "hf")
"""Formats whose columns are mapped by the user."""
FORMATS = ("cvoice-release", "cvc", "valuecsv", *TABLES)


def run(arguments: Sequence[str]) -> None:
    """Import a dataset as a corpus, or add it to one.

    Raises UserError, before anything is written, if an option or a file is invalid.
    """
    options = _parser().parse_intermixed_args(list(arguments))
    target, collected, existing = Path(options.target), Collected(), ExistingCorpus()
    check_target(options.target, add=options.add)
    if options.add:
        existing = read_existing(options.target, collected)
    _read(options, collected)
    collected.refuse_clashes()
    if not collected.activation and not collected.evaluation:
        first = [f"; {row.where}: {row.reason}" for row in collected.dropped[:1]]
        raise UserError(
            f"{options.source}: none of {plural(collected.rows, 'row')} could be imported"
            f"{''.join(first)}"
        )
    source = {"name": Path(options.source).name, "format": options.format}
    card = extend_card(
        existing.card,
        target.absolute().name,
        {**source, "licence": options.licence},
        {i.value for i in collected.activation} | {i.value for i in collected.evaluation},
        collected.remarks,
    )
    write_corpus(target, collected.activation, collected.evaluation, card)
    replace_file(target / LOG, _log(collected, existing))
    _print_summary(options, collected, len(existing.log.columns))


def _parser() -> Parser:
    parser = Parser(
        prog="vxdist corpus import",
        description="Import an existing dataset as a corpus. Dropped rows are counted by reason, "
        f"and listed in DST/{LOG}.",
        epilog="docs/importing.md describes every format.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "source", metavar="SRC", help="file, directory, or dataset of the Hugging Face Hub"
    )
    parser.add_argument("target", metavar="DST", help="corpus directory")
    parser.add_argument("--format", required=True, choices=FORMATS, help="format of SRC")
    parser.add_argument(
        "--language", help="language of cvc (default: en) or valuecsv (default: zh)"
    )
    text = "encoding of the files (default: utf-8); use gb18030 for GBK"
    parser.add_argument("--encoding", default="utf-8", help=text)
    text = "licence of the source, recorded in the card"
    parser.add_argument("--licence", default="unknown", help=text)
    _add_table_options(parser)
    return parser


def _add_table_options(parser: Parser) -> None:
    table = parser.add_argument_group("jsonl, csv, excel, parquet, hf")
    text = "split that the rows belong to; default: activation"
    splits = ("activation", "evaluation")
    table.add_argument("--split", choices=splits, default="activation", help=text)
    text = "column to use for a field, such as --map dilemma=text; repeatable. A column that has a "
    text += "field's name needs no --map"
    table.add_argument("--map", metavar="FIELD=COLUMN", action="append", default=[], help=text)
    text = "text of a field for all rows, such as --set language=en; repeatable"
    text = "column not to take although it has a field's name; repeatable"
    table.add_argument("--leave-out", metavar="COLUMN", action="append", default=[], help=text)
    table.add_argument("--set", metavar="FIELD=TEXT", action="append", default=[], help=text)
    table.add_argument("--separator", metavar="TEXT", help="separator of values in one cell")
    text = "another name for a value, such as --value Amity=friendliness; repeatable"
    table.add_argument("--value", metavar="NAME=VALUE", action="append", default=[], help=text)
    text = "sheet of an Excel workbook; default: all visible sheets"
    table.add_argument("--sheet", metavar="NAME", help=text)
    text = "keep values as written; default: accept C-Voice's twelve and normalise their names"
    table.add_argument("--keep-values", action="store_true", help=text)
    text = "add to the corpus in DST, for instance evaluation dilemmas to stories"
    table.add_argument("--add", action="store_true", help=text)
    table.add_argument("--subset", help="configuration of an hf dataset")
    text = "split of an hf dataset; default: train"
    table.add_argument("--rows", metavar="SPLIT", default="train", help=text)


def _read(options: argparse.Namespace, collected: Collected) -> None:
    names, source = parse_pairs("--value", options.value), Path(options.source)
    if options.sheet is not None and options.format != "excel":
        raise UserError(f"--sheet: {options.format} files have no sheets; remove the option")
    if options.format in TABLES:
        mapping = ColumnMap(
            split=options.split,
            columns=parse_pairs("--map", options.map),
            constants=parse_pairs("--set", options.set),
            separator=options.separator,
            left_out=options.leave_out,
            source=source.name,
            take_named=True,
        )
        mapping.check_names()
        labels = Labels(names, keep=options.keep_values)
        rows = _rows(options, source, mapping, collected)
        import_rows(rows, mapping, labels, collected)
    elif options.format == "cvc":
        read_cvc(source, options.encoding, options.language or "en", Labels(names), collected)
    elif options.format == "valuecsv":
        read_valuecsv(source, options.language or "zh", Labels(names), collected)
    else:
        read_release(source, Labels(names), collected)


def _rows(
    options: argparse.Namespace, source: Path, mapping: ColumnMap, collected: Collected
) -> Iterator[Row]:
    unique = mapping.wanted
    if options.format == "jsonl":
        return read_jsonl(source, options.encoding)
    if options.format == "csv":
        return read_csv(source, options.encoding, unique)
    if options.format == "excel":
        needed = [*mapping.columns.values()]
        return read_excel(source, options.sheet, needed, unique, collected)
    if options.format == "parquet":
        return read_parquet(source, unique)
    return read_hugging_face(options.source, options.subset, options.rows, collected.remarks)


def _log(collected: Collected, existing: ExistingCorpus) -> str:
    log = {
        "rows": collected.rows,
        "stories": len(collected.activation),
        "dilemmas": len(collected.evaluation),
        "remarks": merge(existing.log.remarks, collected.remarks),
        "columns": [asdict(column) for column in collected.columns],
        "changed": [asdict(change) for change in collected.changes.values()],
        "dropped": [asdict(row) for row in collected.dropped],
    }
    return json.dumps(log, ensure_ascii=False, indent=1) + "\n"


def _describe_columns(
    columns: Sequence[Column], options: argparse.Namespace
) -> Iterator[tuple[str, str, int | None]]:
    """The columns of this import, and where other fields come from; first what was taken."""
    taken = [column for column in columns if column.field]
    yield from ((column.column, column.field, column.cells) for column in taken)
    yield from (("(--set)", text, None) for text in options.set)
    fields = [name for column in taken for name in column.field.split(", ")]
    stories = options.format in TABLES and options.split == "activation"
    if stories and "stance" not in (*fields, *parse_pairs("--set", options.set)):
        yield "(no column)", "stance=aligned, for all", None
    unused = [column for column in columns if not column.field]
    yield from ((column.column, "unused", column.cells) for column in unused[:MOST_SHOWN])
    if len(unused) > MOST_SHOWN:
        rest = f"and {len(unused) - MOST_SHOWN:,} more columns"
        yield rest, f"unused (all are in {LOG})", None


def _print_summary(options: argparse.Namespace, collected: Collected, known: int) -> None:
    """`known`: number of columns that earlier imports recorded."""
    console = new_console()
    stories = Counter((i.value, i.language, i.stance) for i in collected.activation)
    dilemmas = Counter((i.value, i.language) for i in collected.evaluation)
    cells = sorted({(v, g) for v, g, _ in stories} | set(dilemmas))
    rows = [
        (v, g, stories[v, g, "aligned"], stories[v, g, "violating"], dilemmas[v, g])
        for v, g in cells
    ]
    columns = [("value", False), ("language", False), ("aligned", True), ("violating", True),
               ("evaluation", True)]  # fmt: skip
    print_title(console, "Imported")
    print_table(console, columns, rows)
    print()
    print_title(console, "Columns")
    print_table(
        console,
        [("column", False), ("taken for", False), ("cells", True)],
        [*_describe_columns(collected.columns[known:], options)],
    )
    print()
    _print_losses(console, collected)
    print()
    for remark in collected.remarks:
        print_wrapped(console, f"note: {remark}")
    print(
        f"import: {plural(len(collected.activation), 'story', 'stories')} and "
        f"{plural(len(collected.evaluation), 'evaluation dilemma')} from "
        f"{plural(collected.rows, 'row')} in {options.target}; "
        f"{len(collected.dropped):,} dropped (listed in {Path(options.target) / LOG})"
    )


def _print_losses(console: "Console", collected: Collected) -> None:
    """What was dropped and what was changed, even if nothing was."""
    print_title(console, "Dropped")
    reasons = Counter(row.reason for row in collected.dropped)
    first = {row.reason: row.where for row in reversed(collected.dropped)}
    dropped = [(reason, count, first[reason]) for reason, count in reasons.most_common()]
    header = [("reason", False), ("rows", True), ("first", False)]
    print_table(console, header, dropped or [("nothing", 0, None)])
    print()
    print_title(console, "Changed")
    changed = [(c.what, c.cells, c.first) for c in collected.changes.values()]
    header = [("what", False), ("cells", True), ("first", False)]
    print_table(console, header, changed or [("nothing", 0, None)])

"""The `vxdist corpus import` command: its options, and what it prints."""

import argparse
import json
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from vxdist.corpus.importing.collect import Collected
from vxdist.corpus.importing.columns import ColumnMap, parse_pairs, take
from vxdist.corpus.importing.cvoice_release import read_release
from vxdist.corpus.importing.existing import (
    LOG,
    There,
    check_target,
    extend_card,
    merge,
    read_there,
)
from vxdist.corpus.importing.labels import Labels
from vxdist.corpus.importing.published import read_cvc, read_valuecsv
from vxdist.corpus.importing.rows import Row, read_hugging_face, read_jsonl, read_parquet
from vxdist.corpus.importing.tables import read_csv, read_excel
from vxdist.corpus.write import replace_file, write_corpus
from vxdist.errors import UserError
from vxdist.parser import Parser
from vxstore.cli.output import new_console, print_table, print_title, print_wrapped

MAPPED = ("jsonl", "csv", "excel", "parquet", "hf")
FORMATS = ("cvoice-release", "cvc", "valuecsv", *MAPPED)


def run(arguments: Sequence[str]) -> None:
    """Read what others have and write a corpus of it.

    Raises UserError, before anything is written, if options or files will not do.
    """
    options = _parser().parse_intermixed_args(list(arguments))
    target, into, there = Path(options.target), Collected(), There()
    check_target(options.target, add=options.add)
    if options.add:
        there = read_there(options.target, into)
    _read(options, into)
    into.refuse_clashes()
    if not into.activation and not into.evaluation:
        told = f"; {into.dropped[0].where}: {into.dropped[0].reason}" if into.dropped else ""
        raise UserError(f"{options.source}: no item could be made of {into.rows:,} rows{told}")
    source = {"name": Path(options.source).name, "format": options.format}
    card = extend_card(
        there.card,
        target.absolute().name,
        {**source, "licence": options.licence},
        {i.value for i in into.activation} | {i.value for i in into.evaluation},
        into.remarks,
    )
    write_corpus(target, into.activation, into.evaluation, card)
    replace_file(target / LOG, _log(into, there))
    _tell(options, into)


def _parser() -> Parser:
    parser = Parser(
        prog="vxdist corpus import",
        description="Make a corpus of what others have. What is dropped is printed, and saved with "
        f"its place and reason in DST/{LOG}.",
        epilog="docs/importing.md tells of every format.",
        allow_abbrev=False,
    )
    parser.add_argument("source", metavar="SRC", help="file, folder, or data set of the Hub")
    parser.add_argument("target", metavar="DST", help="directory of the corpus to make")
    parser.add_argument("--format", required=True, choices=FORMATS)
    parser.add_argument("--language", help="of cvc (default: en) and valuecsv (default: zh)")
    parser.add_argument("--encoding", default="utf-8", help="gb18030 reads GBK files")
    parser.add_argument("--licence", default="unknown", help="noted in the card")
    table = parser.add_argument_group("jsonl, csv, excel, parquet, hf")
    table.add_argument("--split", choices=("activation", "evaluation"), default="activation")
    text = "which column holds a field of the item, as --map dilemma=text; may be given again"
    table.add_argument("--map", metavar="FIELD=COLUMN", action="append", default=[], help=text)
    text = "a field that is the same for all items, as --set language=en"
    table.add_argument("--set", metavar="FIELD=TEXT", action="append", default=[], help=text)
    table.add_argument("--separator", metavar="TEXT", help="between the values of one cell")
    text = "another name of a value, as --value Selbstbestimmung=self_direction"
    table.add_argument("--value", metavar="NAME=VALUE", action="append", default=[], help=text)
    table.add_argument(
        "--sheet", metavar="NAME", help="of an Excel workbook; default: all not hidden"
    )
    text = "keep values as they are written; default: names of C-Voice's twelve are normalised"
    table.add_argument("--keep-values", action="store_true", help=text)
    text = "add to the corpus in DST, as the evaluation split to the stories"
    table.add_argument("--add", action="store_true", help=text)
    table.add_argument("--subset", help="of an hf data set")
    table.add_argument("--rows", metavar="SPLIT", default="train", help="of an hf data set")
    return parser


def _read(options: argparse.Namespace, into: Collected) -> None:
    names, source = parse_pairs("--value", options.value), Path(options.source)
    if options.sheet is not None and options.format != "excel":
        raise UserError(f"--sheet: {options.format} has no sheets to choose; leave it out")
    if options.format in MAPPED:
        how = ColumnMap(
            split=options.split,
            columns=parse_pairs("--map", options.map),
            constants=parse_pairs("--set", options.set),
            separator=options.separator,
        )
        how.check()
        labels = Labels(names, keep=options.keep_values)
        take(_rows(options, source, how.columns.values(), into), how, labels, into)
    elif options.format == "cvc":
        read_cvc(source, options.encoding, options.language or "en", Labels(names), into)
    elif options.format == "valuecsv":
        read_valuecsv(source, options.language or "zh", Labels(names), into)
    else:
        read_release(source, Labels(names), into)


def _rows(
    options: argparse.Namespace, source: Path, wanted: Collection[str], into: Collected
) -> Iterator[Row]:
    if options.format == "jsonl":
        return read_jsonl(source, options.encoding)
    if options.format == "csv":
        return read_csv(source, options.encoding, wanted)
    if options.format == "excel":
        return read_excel(source, options.sheet, wanted, into)
    if options.format == "parquet":
        return read_parquet(source, wanted)
    return read_hugging_face(options.source, options.subset, options.rows)


def _log(into: Collected, there: There) -> str:
    log = {
        "rows": into.rows,
        "stories": len(into.activation),
        "dilemmas": len(into.evaluation),
        "remarks": merge(there.log.remarks, into.remarks),
        "dropped": [asdict(row) for row in into.dropped],
    }
    return json.dumps(log, ensure_ascii=False, indent=1) + "\n"


def _tell(options: argparse.Namespace, into: Collected) -> None:
    console = new_console()
    stories = Counter((i.value, i.language, i.stance) for i in into.activation)
    dilemmas = Counter((i.value, i.language) for i in into.evaluation)
    cells = sorted({(v, g) for v, g, _ in stories} | set(dilemmas))
    rows = [
        (v, g, stories[v, g, "aligned"], stories[v, g, "violating"], dilemmas[v, g])
        for v, g in cells
    ]
    head = [("value", False), ("language", False), ("aligned", True), ("violating", True),
            ("evaluation", True)]  # fmt: skip
    print_title(console, "Imported")
    print_table(console, head, rows)
    if into.dropped:
        reasons = Counter(row.reason for row in into.dropped)
        print()
        print_title(console, "Dropped")
        first = {row.reason: row.where for row in reversed(into.dropped)}
        told = [(reason, count, first[reason]) for reason, count in reasons.most_common()]
        print_table(console, [("reason", False), ("rows", True), ("first", False)], told)
    print()
    for remark in into.remarks:
        print_wrapped(console, f"note: {remark}")
    print(
        f"import: {len(into.activation):,} stories and {len(into.evaluation):,} evaluation "
        f"dilemmas of {into.rows:,} rows in {options.target}; {len(into.dropped):,} dropped, each "
        f"in {Path(options.target) / LOG}"
    )

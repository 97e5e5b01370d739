"""The `vxdist corpus check` command: its options, and what it prints."""

import argparse
import dataclasses
from collections.abc import Callable, Iterator, Sequence

from vxdist.config import TrainerConfig
from vxdist.corpus.check.findings import (
    LEVELS,
    Checked,
    Finding,
    Table,
    Thing,
    Watch,
    rank,
    unwatched,
)
from vxdist.corpus.check.settings import CheckConfig
from vxdist.corpus.read import ReadCorpus, read_corpus
from vxdist.errors import UserError
from vxdist.parser import Parser
from vxdist.progress import WorkProgress
from vxstore.cli.output import new_console, print_json, print_table, print_title, print_wrapped


def run(arguments: Sequence[str]) -> None:
    """Check a corpus and print what was found.

    Raises UserError if the options will not do, or if there are errors among the findings.
    """
    options = _parser().parse_args(list(arguments))
    names = [field.name for field in dataclasses.fields(CheckConfig)]
    given = {name: getattr(options, name) for name in names if hasattr(options, name)}
    config = CheckConfig(**given)
    _refuse_nonsense(config)
    corpus = read_corpus(options.path, options.encoding)
    checked = check(corpus, config, unwatched if options.format == "json" else _show_progress)
    findings = rank(finding for one in checked for finding in one.findings)
    tables = [table for one in checked for table in one.tables]
    if options.format == "json":
        print_json(_to_json(corpus, findings, tables))
    else:
        _show(corpus, findings, tables, options.most)
    errors = sum(finding.level == "error" for finding in findings)
    if errors:
        noun = "error" if errors == 1 else "errors"
        raise UserError(f"{options.path}: {errors:,} {noun}; they stand first among the findings")


def _show_progress(things: Sequence[Thing], title: str, unit: str) -> Iterator[Thing]:
    seconds = TrainerConfig().progress_seconds
    progress = WorkProgress(title, len(things), unit, shown=True, seconds=seconds)
    progress.start()
    try:
        for thing in things:
            yield thing
            progress.advance(1)
    finally:
        progress.stop()


def check(corpus: ReadCorpus, config: CheckConfig, watch: Watch = unwatched) -> list[Checked]:
    """All checks of a corpus. What cannot be read is an error, and is left out of the others."""
    from vxdist.corpus.check.balance import check_balance
    from vxdist.corpus.check.coverage import check_coverage
    from vxdist.corpus.check.cues import check_cues
    from vxdist.corpus.check.duplicates import check_duplicates
    from vxdist.corpus.check.language import check_languages

    activation, evaluation = corpus.activation.items, corpus.evaluation.items
    faults = [
        Finding(level="error", kind="schema", what=str(fault), items=(fault.where,))
        for fault in corpus.faults
    ]
    steps: list[Callable[[], Checked]] = [
        lambda: check_coverage(activation, evaluation, config),
        lambda: check_duplicates(activation, evaluation, config, watch),
        lambda: check_languages([*activation, *evaluation], config, watch),
        lambda: check_balance(activation, evaluation, config),
        lambda: check_cues(activation, evaluation, config),
    ]
    return [Checked(findings=faults), *(step() for step in steps)]


def _parser() -> Parser:
    defaults = CheckConfig()
    parser = Parser(
        prog="vxdist corpus check",
        description="Look a corpus over. Errors make results wrong, and end with exit code 2; "
        "warnings weaken them.",
        allow_abbrev=False,
        argument_default=argparse.SUPPRESS,
    )
    parser.add_argument("path", metavar="PATH", help="directory, or builtin:cvoice-seed")
    parser.add_argument("--encoding", default="utf-8", help="gb18030 reads GBK files")
    parser.add_argument("--format", choices=("table", "json"), default="table")
    parser.add_argument(
        "--most", type=int, default=10, metavar="N", help="findings of a kind to show; default: 10"
    )
    for name, text in (
        ("similarity", "share of runs of words in common that makes two texts near-duplicates"),
        ("confidence", "of the intervals"),
        ("cue", "by how much a cue may tell more, or less, than half"),
        ("length_ratio", "how many times as long as the shortest mean the longest may be"),
        ("dilemmas", "fewest dilemmas of a value in each split"),
        ("settings", "fewest settings of a value"),
        ("rivals", "fewest rival motives of a value"),
    ):
        default = getattr(defaults, name)
        parser.add_argument(
            f"--{name.replace('_', '-')}",
            type=type(default),
            metavar="N",
            help=f"{text}; default: {default}",
        )
    return parser


def _refuse_nonsense(config: CheckConfig) -> None:
    for name in ("similarity", "confidence"):
        if not 0 < getattr(config, name) < 1:
            raise UserError(f"--{name}: found {getattr(config, name)}, expected between 0 and 1")


def _to_json(
    corpus: ReadCorpus, findings: Sequence[Finding], tables: Sequence[Table]
) -> dict[str, object]:
    return {
        "path": str(corpus.folder),
        "stories": len(corpus.activation.items),
        "dilemmas": len(corpus.evaluation.items),
        "counts": {level: sum(f.level == level for f in findings) for level in LEVELS},
        "findings": [dataclasses.asdict(finding) for finding in findings],
        "tables": {t.name: [dict(zip(t.columns, r, strict=True)) for r in t.rows] for t in tables},
    }


def _show(
    corpus: ReadCorpus, findings: Sequence[Finding], tables: Sequence[Table], most: int
) -> None:
    stories, dilemmas = len(corpus.activation.items), len(corpus.evaluation.items)
    console = new_console()
    print(f"{corpus.folder}: {stories:,} stories, {dilemmas:,} evaluation dilemmas\n")
    for table in tables:
        print_title(console, table.title)
        columns, rows = table.shown or (table.columns, table.rows)
        numeric = [isinstance(cell, int | float) for cell in (*rows, columns)[0]]
        cells = [[f"{c:.1f}" if isinstance(c, float) else c for c in row] for row in rows]
        print_table(console, [*zip(columns, numeric, strict=True)], cells)
        print()
    shown: dict[tuple[str, str], int] = {}
    for finding in findings:
        key = (finding.level, finding.kind)
        shown[key] = shown.get(key, 0) + 1
        if shown[key] <= most:
            print_wrapped(console, f"{finding.level}, {finding.kind}: {finding.what}")
    for (level, kind), count in shown.items():
        if count > most:
            print(f"{level}, {kind}: {count - most:,} more; --most, or --format json, shows them")
    told = [f"{sum(f.level == level for f in findings):,} {level}s" for level in LEVELS]
    print(f"found: {', '.join(told)}")

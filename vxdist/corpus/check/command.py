"""The `vxdist corpus check` command: its options, and what it prints."""

import argparse
import dataclasses
from collections.abc import Callable, Iterator, Sequence

from vxdist.config import TrainerConfig
from vxdist.corpus.check.findings import (
    LEVELS,
    Checked,
    Element,
    Finding,
    Table,
    Track,
    rank,
    untracked,
)
from vxdist.corpus.check.settings import CheckConfig
from vxdist.corpus.check.text import Items
from vxdist.corpus.lines import refuse
from vxdist.corpus.read import ReadCorpus, read_corpus
from vxdist.errors import UserError
from vxdist.parser import Parser
from vxdist.progress import WorkProgress
from vxstore.cli.output import new_console, print_json, print_table, print_title, print_wrapped
from vxstore.text import plural

THRESHOLDS = (
    ("similarity", "minimum similarity of word shingles for two texts to be near-duplicates"),
    ("confidence", "confidence level of the intervals"),
    ("cue", "maximum difference between a cue's accuracy and 0.5"),
    (
        "length_spread",
        "maximum fraction by which the longest mean length of a value exceeds the shortest",
    ),
    ("level", "level of the tests of lengths"),
    ("stance_pairs", "minimum number of dilemmas per value told in both stances"),
    ("shuffles", "number of shuffles of settings over dilemmas"),
    ("drift_dilemmas", "maximum number of dilemmas per language that words tell the halves of"),
    ("length_ratio", "maximum ratio of the longest mean length to the shortest"),
    ("dilemmas", "minimum number of dilemmas per value in each split"),
    ("settings", "minimum number of settings per value"),
    ("rivals", "minimum number of rival motives per value"),
)
"""Fields of CheckConfig that are options, with their help."""


def run(arguments: Sequence[str]) -> None:
    """Check a corpus and print the findings.

    Raises UserError if an option is invalid, or if there are errors among the findings.
    """
    options = _parser().parse_args(list(arguments))
    names = [field.name for field in dataclasses.fields(CheckConfig)]
    given = {name: getattr(options, name) for name in names if hasattr(options, name)}
    config = CheckConfig(**given)
    _check_options(config)
    corpus = read_corpus(options.path, options.encoding)
    if options.format == "card":
        _print_card(corpus, config)
        return
    checked = check(corpus, config, untracked if options.format == "json" else _show_progress)
    findings = rank(finding for one in checked for finding in one.findings)
    tables = [table for one in checked for table in one.tables]
    if options.format == "json":
        print_json(_to_json(corpus, findings, tables))
    else:
        _show(corpus, findings, tables, options.most)
    errors = sum(finding.level == "error" for finding in findings)
    if errors:
        raise UserError(
            f"{options.path}: {plural(errors, 'error')}, listed first among the findings"
        )


def _print_card(corpus: ReadCorpus, config: CheckConfig) -> None:
    from vxdist.corpus.check.card import measure, to_yaml

    refuse(corpus.faults)
    print(to_yaml(measure(corpus, config)), end="")


def _show_progress(elements: Sequence[Element], title: str, unit: str) -> Iterator[Element]:
    seconds = TrainerConfig().progress_seconds
    progress = WorkProgress(title, len(elements), unit, shown=True, seconds=seconds)
    progress.start()
    try:
        for element in elements:
            yield element
            progress.advance(1)
    finally:
        progress.stop()


def check(corpus: ReadCorpus, config: CheckConfig, track: Track = untracked) -> list[Checked]:
    """Run all checks. Lines that cannot be read are errors, and the other checks skip them."""
    from vxdist.corpus.check.balance import check_balance
    from vxdist.corpus.check.coverage import check_coverage
    from vxdist.corpus.check.cues import check_cues
    from vxdist.corpus.check.dilemmas import group_stories
    from vxdist.corpus.check.drift import check_drift
    from vxdist.corpus.check.duplicates import check_duplicates
    from vxdist.corpus.check.information import check_information
    from vxdist.corpus.check.labels import check_labels
    from vxdist.corpus.check.language import check_languages
    from vxdist.corpus.check.lengths import check_lengths
    from vxdist.corpus.check.neutral import check_neutral
    from vxdist.corpus.check.stances import check_stances
    from vxdist.corpus.check.tokens import check_tokens

    activation, evaluation = corpus.activation.items, corpus.evaluation.items
    neutral = corpus.neutral.items
    items: Items = [*activation, *evaluation, *neutral]
    spoken = [*dict.fromkeys(item.language for item in activation)]
    languages = group_stories(activation)
    faults = [
        Finding(level="error", kind="schema", message=str(fault), items=(fault.where,))
        for fault in corpus.faults
    ]
    steps: list[Callable[[], Checked]] = [
        lambda: check_labels(items),
        lambda: check_coverage(activation, evaluation, config),
        lambda: check_neutral(neutral, spoken),
        lambda: check_duplicates(activation, evaluation, neutral, config, track),
        lambda: check_tokens(items),
        lambda: check_languages(items, config, track),
        lambda: check_balance(activation, evaluation, config),
        lambda: check_lengths(languages, config),
        lambda: check_stances(languages, config),
        lambda: check_drift(languages, config),
        lambda: check_information(activation, evaluation, config),
        lambda: check_cues(activation, evaluation, config),
    ]
    return [Checked(findings=faults), *(step() for step in steps)]


def _parser() -> Parser:
    defaults = CheckConfig()
    parser = Parser(
        prog="vxdist corpus check",
        description="Check a corpus. Errors make results wrong and lead to exit code 2; warnings "
        "weaken results.",
        allow_abbrev=False,
        argument_default=argparse.SUPPRESS,
    )
    parser.add_argument("path", metavar="PATH", help="corpus directory, or builtin:cvoice-seed")
    text = "encoding of the files (default: utf-8); use gb18030 for GBK"
    parser.add_argument("--encoding", default="utf-8", help=text)
    text = "output format; card prints the figures of a card's section measured; default: table"
    parser.add_argument("--format", choices=("table", "json", "card"), default="table", help=text)
    text = "findings to show per level and kind; default: 10"
    parser.add_argument("--most", type=int, default=10, metavar="N", help=text)
    for name, text in THRESHOLDS:
        default = getattr(defaults, name)
        parser.add_argument(
            f"--{name.replace('_', '-')}",
            type=type(default),
            metavar="N",
            help=f"{text}; default: {default}",
        )
    return parser


def _check_options(config: CheckConfig) -> None:
    for name in ("similarity", "confidence", "level"):
        number = getattr(config, name)
        if not 0 < number < 1:
            raise UserError(f"--{name}: found {number}, expected a number between 0 and 1")
    for name, least in (("shuffles", 1), ("drift_dilemmas", 4)):
        number = getattr(config, name)
        if number < least:
            option = name.replace("_", "-")
            raise UserError(f"--{option}: found {number}, expected at least {least}")


def _to_json(
    corpus: ReadCorpus, findings: Sequence[Finding], tables: Sequence[Table]
) -> dict[str, object]:
    return {
        "path": str(corpus.folder),
        "stories": len(corpus.activation.items),
        "dilemmas": len(corpus.evaluation.items),
        "neutral": len(corpus.neutral.items),
        "counts": {level: sum(f.level == level for f in findings) for level in LEVELS},
        "findings": [dataclasses.asdict(finding) for finding in findings],
        "tables": {t.name: [dict(zip(t.columns, r, strict=True)) for r in t.rows] for t in tables},
    }


def _show(
    corpus: ReadCorpus, findings: Sequence[Finding], tables: Sequence[Table], most: int
) -> None:
    stories, dilemmas = len(corpus.activation.items), len(corpus.evaluation.items)
    passages = len(corpus.neutral.items)
    neutral = f", {plural(passages, 'neutral passage')}" if passages else ""
    console = new_console()
    print(
        f"{corpus.folder}: {plural(stories, 'story', 'stories')}, "
        f"{plural(dilemmas, 'evaluation dilemma')}{neutral}\n"
    )
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
            print_wrapped(console, f"{finding.level}, {finding.kind}: {finding.message}")
    for (level, kind), count in shown.items():
        if count > most:
            print(
                f"{level}, {kind}: {count - most:,} more; use --most or --format json to see them"
            )
    counts = {level: sum(finding.level == level for finding in findings) for level in LEVELS}
    totals = [plural(n, level) for level, n in counts.items()]
    print(f"found: {', '.join(totals)}")

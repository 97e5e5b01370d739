"""The corpus that an import adds to."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vxdist.corpus.importing.account import Change, Column
from vxdist.corpus.importing.collect import Collected, Dropped
from vxdist.corpus.lines import refuse
from vxdist.corpus.read import read_corpus
from vxdist.corpus.write import ACTIVATION, CARD
from vxdist.errors import UserError

LOG = "import.json"


@dataclass(kw_only=True)
class Log:
    """What earlier imports recorded in DST."""

    rows: int = 0
    remarks: list[str] = field(default_factory=list)
    dropped: list[Dropped] = field(default_factory=list)
    columns: list[Column] = field(default_factory=list)
    changed: list[Change] = field(default_factory=list)


@dataclass(kw_only=True)
class ExistingCorpus:
    """The card and the log of the corpus to add to; both are empty for a new corpus."""

    card: dict[str, Any] = field(default_factory=dict)
    log: Log = field(default_factory=Log)


def check_target(target: str, *, add: bool) -> None:
    """Raise UserError if DST cannot be created or, with `add`, added to."""
    if target.startswith("builtin:"):
        raise UserError(f"DST: {target} is bundled with vxdist and read-only; give a directory")
    folder = Path(target)
    above = next(parent for parent in folder.absolute().parents if parent.exists())
    if not above.is_dir():
        raise UserError(f"{folder}: {above} is a file; give a directory")
    if not add:
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise UserError(f"{folder} already exists; give a new directory, or use --add")
    elif not folder.is_dir():
        raise UserError(f"--add: {folder} is not a directory; omit --add to create a new corpus")
    elif not (folder / ACTIVATION).is_file():
        raise UserError(
            f"--add: {folder} has no {ACTIVATION}; give a corpus, or create that file empty if the "
            "corpus has only evaluation dilemmas so far"
        )


def read_existing(target: str, collected: Collected) -> ExistingCorpus:
    """Start from the corpus in DST, which may still be incomplete.

    Raises UserError if a line of it, its card or its log is invalid.
    """
    read = read_corpus(target)
    card_file = str(read.folder / CARD)
    card_faults = [fault for fault in read.faults if fault.where.startswith(card_file)]
    refuse([*read.activation.faults, *read.evaluation.faults, *card_faults])
    collected.begin_with(read.activation, read.evaluation)
    log = _read_log(read.folder / LOG)
    collected.rows, collected.dropped = log.rows, [*log.dropped]
    collected.columns = [*log.columns]
    collected.changes = {change.what: change for change in log.changed}
    return ExistingCorpus(card=dict(read.card), log=log)


def _read_log(file: Path) -> Log:
    """The log of earlier imports; empty if the corpus was not imported."""
    if not file.is_file():
        return Log()
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{file}: not JSON: {error}; remove it to continue without it") from error
    try:
        log: Log | None = Log(
            rows=found.get("rows", 0),
            remarks=found.get("remarks", []),
            dropped=[Dropped(**row) for row in found.get("dropped", [])],
            columns=[Column(**column) for column in found.get("columns", [])],
            changed=[Change(**change) for change in found.get("changed", [])],
        )
    except (AttributeError, TypeError):
        log = None
    if log is None or not _is_valid(log):
        raise UserError(
            f"{file}: not the log of an import (rows, remarks, and dropped with where, reason and "
            "found; columns, changed); remove it to continue without it"
        )
    return log


def _is_valid(log: Log) -> bool:
    counts = [log.rows, *(c.cells for c in log.columns), *(c.cells for c in log.changed)]
    texts = [text for row in log.dropped for text in (row.where, row.reason, row.found)]
    texts += [text for c in log.columns for text in (c.source, c.column, c.field)]
    texts += [text for c in log.changed for text in (c.what, c.first)]
    return (
        all(type(n) is int for n in counts)
        and isinstance(log.remarks, list)
        and all(isinstance(text, str) for text in [*log.remarks, *texts])
    )


def extend_card(
    card: Mapping[str, Any],
    name: str,
    source: Mapping[str, str],
    values: Iterable[str],
    remarks: Iterable[str],
) -> dict[str, Any]:
    """The card with another source, and any missing fields. Its other content is unchanged."""
    extended = dict(card)
    if extended.get("name") is None:
        extended = {"name": name, **{k: v for k, v in extended.items() if k != "name"}}
    extended["sources"] = [*_as_list(card.get("sources")), dict(source)]
    known = card.get("values")
    if known is None or isinstance(known, list):  # a mapping was written by hand
        extended["values"] = merge(known or sorted(values), sorted(values))
    extended["remarks"] = merge(_as_list(card.get("remarks")), remarks)
    return extended


def merge(existing: Iterable[Any], added: Iterable[Any]) -> list[Any]:
    """Both in order, without what `existing` has already."""
    merged = list(existing)
    for element in added:
        if element not in merged:
            merged.append(element)
    return merged


def _as_list(found: object) -> list[Any]:
    """A field of a card as a list, whether it is missing, single or a list."""
    if found is None:
        return []
    return list(found) if isinstance(found, list) else [found]

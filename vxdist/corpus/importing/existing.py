"""What lies in DST before an import."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vxdist.corpus.importing.collect import Collected, Dropped
from vxdist.corpus.lines import refuse
from vxdist.corpus.read import read_corpus
from vxdist.corpus.write import ACTIVATION, CARD
from vxdist.errors import UserError

LOG = "import.json"


@dataclass(kw_only=True)
class Log:
    """What imports before noted in DST."""

    rows: int = 0
    remarks: list[str] = field(default_factory=list)
    dropped: list[Dropped] = field(default_factory=list)


@dataclass(kw_only=True)
class There:
    """The card and the log of the corpus that is added to; both are empty for a new one."""

    card: dict[str, Any] = field(default_factory=dict)
    log: Log = field(default_factory=Log)


def check_target(target: str, *, add: bool) -> None:
    """Raises UserError if DST is not where a corpus can be made, or added to."""
    if target.startswith("builtin:"):
        raise UserError(f"DST: {target} comes with vxdist and stays as it is; give a directory")
    folder = Path(target)
    above = next(parent for parent in folder.absolute().parents if parent.exists())
    if not above.is_dir():
        raise UserError(f"{folder}: {above} is a file; give a directory")
    if not add:
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise UserError(f"{folder} is there already; give a new directory, or --add to it")
    elif not folder.is_dir():
        raise UserError(f"--add: {folder} is no directory; leave --add out to make a new corpus")
    elif not (folder / ACTIVATION).is_file():
        raise UserError(
            f"--add: {folder} has no {ACTIVATION}; give a corpus, or make that file, empty, if "
            "there are only evaluation dilemmas so far"
        )


def read_there(target: str, into: Collected) -> There:
    """Begin with the corpus in DST, which may be incomplete: more may be added.

    Raises UserError if a line of it, its card or its log will not do.
    """
    read = read_corpus(target)
    card_file = str(read.folder / CARD)
    of_card = [fault for fault in read.faults if fault.where.startswith(card_file)]
    refuse([*read.activation.faults, *read.evaluation.faults, *of_card])
    into.begin_with(read.activation, read.evaluation)
    log = _read_log(read.folder / LOG)
    into.rows, into.dropped = log.rows, [*log.dropped]
    return There(card=dict(read.card), log=log)


def _read_log(file: Path) -> Log:
    """The log of the imports before; empty if the corpus was not imported."""
    if not file.is_file():
        return Log()
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{file}: not JSON: {error}; remove it to go on without it") from error
    try:
        log: Log | None = Log(
            rows=found.get("rows", 0),
            remarks=found.get("remarks", []),
            dropped=[Dropped(**row) for row in found.get("dropped", [])],
        )
    except (AttributeError, TypeError):
        log = None
    if log is None or not _is_lawful(log):
        raise UserError(
            f"{file}: not what an import notes (rows, remarks and dropped, each with where, reason "
            "and found); remove it to go on without it"
        )
    return log


def _is_lawful(log: Log) -> bool:
    texts = [text for row in log.dropped for text in (row.where, row.reason, row.found)]
    return (
        type(log.rows) is int
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
    """The card with one source more, and what it lacks. What its owner wrote stays as it is."""
    extended = dict(card)
    if extended.get("name") is None:
        extended = {"name": name, **{k: v for k, v in extended.items() if k != "name"}}
    extended["sources"] = [*_as_list(card.get("sources")), dict(source)]
    known = card.get("values")
    if known is None or isinstance(known, list):  # names of values by hand are a mapping
        extended["values"] = merge(known or sorted(values), sorted(values))
    extended["remarks"] = merge(_as_list(card.get("remarks")), remarks)
    return extended


def merge(there: Iterable[Any], more: Iterable[Any]) -> list[Any]:
    """One after the other, without what is there already."""
    merged = list(there)
    for one in more:
        if one not in merged:
            merged.append(one)
    return merged


def _as_list(found: object) -> list[Any]:
    """What a card says, whether it says nothing, one thing or several."""
    if found is None:
        return []
    return list(found) if isinstance(found, list) else [found]

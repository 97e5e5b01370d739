"""C-Voice as released by its authors: `data/test-zh-200.xlsx` and `answers/VALUE-STANCE.json`."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vxdist.corpus.importing.account import count_columns
from vxdist.corpus.importing.collect import Collected
from vxdist.corpus.importing.labels import Labels
from vxdist.corpus.importing.rows import as_text, is_text, name_columns, read_jsonl
from vxdist.corpus.importing.tables import Cells, read_sheets
from vxdist.corpus.items import ActivationItem, EvaluationItem
from vxdist.errors import UserError

LANGUAGE = "zh"
STANCES = {"support": "aligned", "conflict": "violating"}
EVALUATION = "data/test-zh-200.xlsx"
MISLABELLED = "mislabelled: its type names another value or none"
ANSWERS = {"dilemma": "question", "choice": "question", "rival": "question", "rationale": "answer"}
"""{field: key} of the files of answers."""
ACTIONS = {"rival": "Type", "dilemma": "Context", "aligned": "Action1", "violating": "Action2"}
"""{field: column} of the evaluation sheets: their first four columns, whatever they are called."""
NO_QUESTION = "question is not [type, dilemma, option A, option B]"
INCOMPLETE = "incomplete: type, context or an action is empty"
_LETTER = re.compile(r"^\s*[AB]\s*[.．、:：)）]\s*")
_VERSUS = re.compile(r"\s*(?<![a-z])v\s?\.?\s?s\.?(?![a-z])\s*", re.IGNORECASE)
"""The spellings in the release: vs, VS, vs., v s, v.s."""


def read_release(folder: Path, labels: Labels, collected: Collected) -> None:
    """Read both splits. Raises UserError if `folder` does not contain the release.

    Option A of a question is the aligned choice. `support` argues for it and `conflict` against
    it, so the choice of a violating story is B.
    """
    answers = sorted(folder.glob("answers/*-*.json"))
    if not answers or not (folder / EVALUATION).is_file():
        raise UserError(
            f"{folder}: expected answers/VALUE-support.json, answers/VALUE-conflict.json and "
            f"{EVALUATION}, as in the authors' repository"
        )
    lines = [row for file in answers for row in _read_answers(file, labels, collected)]
    collected.columns += count_columns(lines, ANSWERS, "answers")
    cells: list[dict[str, Any]] = []
    for sheet, rows in read_sheets(folder / EVALUATION, collected):
        cells += _read_sheet(sheet, rows, labels, collected)
    collected.columns += count_columns(cells, ACTIONS, EVALUATION)
    _note_other_files(folder, answers, collected)
    with_stories = {labels.find(file.stem.rpartition("-")[0]) for file in answers}
    without = sorted(
        file.stem.removesuffix("-final")
        for file in folder.glob("data/*-final.xlsx")
        if labels.find(file.stem.removesuffix("-final")) not in with_stories
    )
    if without:
        collected.remarks.append(
            f"the release has no rationales, and therefore no stories, for {', '.join(without)}"
        )
    collected.remarks.append(
        "Action1 of the evaluation split is taken as the aligned option; apparently it sometimes "
        "is not, but nothing in the file indicates where"
    )
    collected.drop_values_without_stories()


def _note_other_files(folder: Path, answers: Sequence[Path], collected: Collected) -> None:
    """Remark on files of the release that are not read."""
    read = {*answers, folder / EVALUATION}
    files = [f for part in ("answers", "data") for f in sorted((folder / part).glob("*"))]
    if others := [f"{f.parent.name}/{f.name}" for f in files if f not in read]:
        more = f" and {len(others) - 12:,} more" if len(others) > 12 else ""
        collected.remarks.append(f"not read: {', '.join(others[:12])}{more}")


def _read_answers(file: Path, labels: Labels, collected: Collected) -> list[Mapping[str, Any]]:
    """Add the stories of one file; returns its lines."""
    name, _, kind = file.stem.rpartition("-")
    value = labels.find(name)
    if value is None or kind not in STANCES:
        raise UserError(f"{file}: expected VALUE-support.json or VALUE-conflict.json")
    stance = STANCES[kind]
    lines = [*read_jsonl(file, "utf-8")]
    collected.rows += len(lines)
    for where, row in lines:
        question, answer = row.get("question"), row.get("answer")
        if not isinstance(question, list) or len(question) != 4:
            collected.drop(where, NO_QUESTION, str(question))
            continue
        if not all(is_text(text) for text in (*question, answer)):
            collected.drop(where, "question or answer is not text", str(question))
            continue
        conflict, dilemma, *options = map(as_text, question)
        choice, rationale = options[stance == "violating"], as_text(answer)
        if not (dilemma and choice and rationale):
            collected.drop(where, "dilemma, choice or rationale is empty", dilemma)
            continue
        if not _is_about(conflict, value, labels):
            collected.drop(where, MISLABELLED, conflict)
            continue
        pair = f"{value}-a{int(where.rpartition(':')[2]):03}"
        collected.add_story(
            ActivationItem(
                id=f"{pair}-{LANGUAGE}-{stance}",
                pair=pair,
                value=value,
                language=LANGUAGE,
                stance=stance,
                dilemma=dilemma,
                choice=_without_letter(choice, where, collected),
                rationale=rationale,
                rival=_rival(conflict),
            ),
            where,
        )
    return [row for _, row in lines]


def _read_sheet(
    sheet: str, rows: Cells, labels: Labels, collected: Collected
) -> list[dict[str, Any]]:
    """Add the dilemmas of one sheet; returns its rows, as {column: cell}."""
    value, file = labels.find(sheet), Path(EVALUATION).name
    if value is None:
        raise UserError(f"{file}: sheet {sheet!r} is not named after a known value")
    head = rows[0][1] if rows else [""]
    # A sheet without a header begins with a dilemma.
    rows = rows if _is_about(as_text(head[0]), value, labels) else rows[1:]
    collected.rows += len(rows)
    for number, cells in rows:
        texts = [as_text(cell) for cell in cells[:4]]
        where = f"{file}:{sheet}:{number}"
        if len(texts) < 4 or not all(texts):
            collected.drop(where, INCOMPLETE, " ".join(texts))
            continue
        conflict, dilemma, first, second = texts
        if not _is_about(conflict, value, labels):
            collected.drop(where, MISLABELLED, conflict)
            continue
        pair = f"{value}-e{number:03}"
        collected.add_dilemma(
            EvaluationItem(
                id=f"{pair}-{LANGUAGE}",
                pair=pair,
                value=value,
                language=LANGUAGE,
                dilemma=dilemma,
                aligned=_without_letter(first, where, collected),
                violating=_without_letter(second, where, collected),
                rival=_rival(conflict),
            ),
            where,
        )
    columns = name_columns([*ACTIONS.values(), *map(as_text, head[4:])])
    return [dict(zip(columns, cells, strict=False)) for _, cells in rows]


def _without_letter(option: str, where: str, collected: Collected) -> str:
    """An option without the letter in front of it."""
    text = _LETTER.sub("", option)
    if text != option:
        collected.change(where, "option: the letter in front of it removed")
    return text


def _is_about(conflict: str, value: str, labels: Labels) -> bool:
    """Whether a type, 'VALUE vs RIVAL', names this value."""
    return labels.find(_sides(conflict)[0]) == value


def _rival(conflict: str) -> str:
    return _sides(conflict)[1]


def _sides(conflict: str) -> Sequence[str]:
    first, *rest = _VERSUS.split(conflict, maxsplit=1)
    return first, "".join(rest)

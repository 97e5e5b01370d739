"""C-Voice as released by its authors: `data/test-zh-200.xlsx` and `answers/VALUE-STANCE.json`."""

import re
from collections.abc import Sequence
from pathlib import Path

from vxdist.corpus.importing.collect import Collected
from vxdist.corpus.importing.labels import Labels
from vxdist.corpus.importing.rows import as_text, is_text, read_jsonl
from vxdist.corpus.importing.tables import Cells, read_sheets
from vxdist.corpus.items import ActivationItem, EvaluationItem
from vxdist.errors import UserError

LANGUAGE = "zh"
STANCES = {"support": "aligned", "conflict": "violating"}
EVALUATION = "data/test-zh-200.xlsx"
MISLABELLED = "mislabelled: its type names another value or none"
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
    for file in answers:
        _read_answers(file, labels, collected)
    for sheet, rows in read_sheets(folder / EVALUATION, collected):
        _read_sheet(sheet, rows, labels, collected)
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


def _read_answers(file: Path, labels: Labels, collected: Collected) -> None:
    name, _, kind = file.stem.rpartition("-")
    value = labels.find(name)
    if value is None or kind not in STANCES:
        raise UserError(f"{file}: expected VALUE-support.json or VALUE-conflict.json")
    stance = STANCES[kind]
    for where, row in read_jsonl(file, "utf-8"):
        collected.rows += 1
        question, answer = row.get("question"), row.get("answer")
        if not isinstance(question, list) or len(question) != 4:
            reason = "question is not [type, dilemma, option A, option B]"
            collected.drop(where, reason, str(question))
            continue
        if not all(is_text(text) for text in (*question, answer)):
            collected.drop(where, "question or answer is not text", str(question))
            continue
        conflict, dilemma, *options = (as_text(text) for text in question)
        choice, rationale = _LETTER.sub("", options[stance == "violating"]), as_text(answer)
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
                choice=choice,
                rationale=rationale,
                rival=_rival(conflict),
            ),
            where,
        )


def _read_sheet(sheet: str, rows: Cells, labels: Labels, collected: Collected) -> None:
    value, file = labels.find(sheet), Path(EVALUATION).name
    if value is None:
        raise UserError(f"{file}: sheet {sheet!r} is not named after a known value")
    for number, cells in rows[1:]:
        texts = [as_text(cell) for cell in cells[:4]]
        where = f"{file}:{sheet}:{number}"
        if not any(texts):
            continue
        collected.rows += 1
        if len(texts) < 4 or not all(texts):
            collected.drop(
                where, "incomplete: type, context or an action is empty", " ".join(texts)
            )
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
                aligned=_LETTER.sub("", first),
                violating=_LETTER.sub("", second),
                rival=_rival(conflict),
            ),
            where,
        )


def _is_about(conflict: str, value: str, labels: Labels) -> bool:
    """Whether a type, 'VALUE vs RIVAL', names this value."""
    return labels.find(_sides(conflict)[0]) == value


def _rival(conflict: str) -> str:
    return _sides(conflict)[1]


def _sides(conflict: str) -> Sequence[str]:
    first, *rest = _VERSUS.split(conflict, maxsplit=1)
    return first, "".join(rest)

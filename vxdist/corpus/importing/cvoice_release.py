"""C-Voice as its authors released it: `data/test-zh-200.xlsx` and `answers/VALUE-STANCE.json`."""

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
_LETTER = re.compile(r"^\s*[AB]\s*[.．、:：)）]\s*")
_VERSUS = re.compile(r"\s*(?<![a-z])v\s?\.?\s?s\.?(?![a-z])\s*", re.IGNORECASE)
"""As they spell it: vs, VS, vs., v s, v.s."""


def read_release(folder: Path, labels: Labels, into: Collected) -> None:
    """Read both splits. Raises UserError if `folder` does not hold the release.

    In an answer's question A is the aligned choice. `support` argues for it, `conflict` against
    it, so that the choice of a violating story is B.
    """
    answers = sorted(folder.glob("answers/*-*.json"))
    if not answers or not (folder / EVALUATION).is_file():
        raise UserError(
            f"{folder}: expected answers/VALUE-support.json, answers/VALUE-conflict.json and "
            f"{EVALUATION}, as in the authors' repository"
        )
    for file in answers:
        _read_answers(file, labels, into)
    for sheet, rows in read_sheets(folder / EVALUATION, into):
        _read_sheet(sheet, rows, labels, into)
    told = {labels.find(file.stem.rpartition("-")[0]) for file in answers}
    without = sorted(
        file.stem.removesuffix("-final")
        for file in folder.glob("data/*-final.xlsx")
        if labels.find(file.stem.removesuffix("-final")) not in told
    )
    if without:
        into.remarks.append(
            f"the release has no rationales, and so no stories, of {', '.join(without)}"
        )
    into.remarks.append(
        "Action1 of the evaluation split is taken for the aligned option; by the look of it, it "
        "sometimes is not, and nothing in the file tells where"
    )
    into.drop_untold_values()


def _read_answers(file: Path, labels: Labels, into: Collected) -> None:
    name, _, kind = file.stem.rpartition("-")
    value = labels.find(name)
    if value is None or kind not in STANCES:
        raise UserError(f"{file}: expected VALUE-support.json or VALUE-conflict.json")
    stance = STANCES[kind]
    for where, row in read_jsonl(file, "utf-8"):
        into.rows += 1
        question, answer = row.get("question"), as_text(row.get("answer"))
        if not isinstance(question, list) or len(question) != 4:
            into.drop(where, "question is not [type, dilemma, option A, option B]", str(question))
            continue
        if not all(is_text(text) for text in (*question, row.get("answer"))):
            into.drop(where, "question or answer is no text", str(question))
            continue
        kind_text, dilemma, *options = (as_text(text) for text in question)
        choice = _LETTER.sub("", options[stance == "violating"])
        if not (dilemma and choice and answer):
            into.drop(where, "dilemma, choice or rationale is empty", dilemma)
            continue
        if not _is_about(kind_text, value, labels):
            into.drop(where, "mislabelled: its type names another value, or none", kind_text)
            continue
        number = where.rpartition(":")[2]
        pair = f"{value}-a{int(number):03}"
        into.add_story(
            ActivationItem(
                id=f"{pair}-{LANGUAGE}-{stance}",
                pair=pair,
                value=value,
                language=LANGUAGE,
                stance=stance,
                dilemma=dilemma,
                choice=choice,
                rationale=answer,
                rival=_rival(kind_text),
            ),
            where,
        )


def _read_sheet(sheet: str, rows: Cells, labels: Labels, into: Collected) -> None:
    value, file = labels.find(sheet), Path(EVALUATION).name
    if value is None:
        raise UserError(f"{file}: sheet {sheet!r} names no value that is known")
    for number, cells in rows[1:]:
        texts = [as_text(cell) for cell in cells[:4]]
        where = f"{file}:{sheet}:{number}"
        if not any(texts):
            continue
        into.rows += 1
        if len(texts) < 4 or not all(texts):
            into.drop(where, "incomplete: type, context or an action is empty", " ".join(texts))
            continue
        kind, dilemma, first, second = texts
        if not _is_about(kind, value, labels):
            into.drop(where, "mislabelled: its type names another value, or none", kind)
            continue
        pair = f"{value}-e{number:03}"
        into.add_dilemma(
            EvaluationItem(
                id=f"{pair}-{LANGUAGE}",
                pair=pair,
                value=value,
                language=LANGUAGE,
                dilemma=dilemma,
                aligned=_LETTER.sub("", first),
                violating=_LETTER.sub("", second),
                rival=_rival(kind),
            ),
            where,
        )


def _is_about(kind: str, value: str, labels: Labels) -> bool:
    """Whether a type, 'VALUE vs RIVAL', is of this value."""
    return labels.find(_sides(kind)[0]) == value


def _rival(kind: str) -> str:
    return _sides(kind)[1]


def _sides(kind: str) -> Sequence[str]:
    first, *rest = _VERSUS.split(kind, maxsplit=1)
    return first, "".join(rest)

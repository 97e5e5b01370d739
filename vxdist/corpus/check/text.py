"""Splitting text into words, in any language.

In scripts written without spaces, every character counts as a word.
"""

import re
import unicodedata
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import islice

from vxdist.corpus.items import ActivationItem, AnyItem, EvaluationItem, NeutralItem

Items = Sequence[AnyItem]
UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
)
"""Thai, Lao, Burmese, Khmer, kana, Han."""


def split_words(text: str) -> list[str]:
    """Words in lower case; single characters in scripts written without spaces."""
    return _word().findall(unicodedata.normalize("NFC", text.lower()))


@cache
def _word() -> re.Pattern[str]:
    """Matches letters with their combining marks, since Hindi writes vowels as marks.

    Marks beyond U+FFFF, which belong to historic scripts, would make it twenty times slower.
    """
    plane = map(chr, range(0x300, 0x10000))
    marks = "".join(c for c in plane if unicodedata.category(c)[0] == "M")
    return re.compile(rf"[{UNSPACED}]|(?:[^\W{UNSPACED}]+[{marks}]*)+")


def shingle(text: str, length: int) -> list[str]:
    """All runs of `length` consecutive words; a shorter text is one shingle."""
    words = split_words(text)
    runs = zip(*(islice(words, n, None) for n in range(length)), strict=False)
    return [" ".join(run) for run in runs] or [" ".join(words)]


def whole_text(item: ActivationItem | EvaluationItem) -> str:
    """All text of an item that a model may be shown."""
    if isinstance(item, ActivationItem):
        return f"{item.dilemma} {item.choice} {item.rationale}"
    return f"{item.dilemma} {item.aligned} {item.violating}"


def text_fields(item: AnyItem) -> Iterator[tuple[str, str]]:
    """(field, text) of all texts that a model may be shown."""
    if isinstance(item, NeutralItem):
        yield "text", item.text
        return
    names: Sequence[str] = (
        ("dilemma", "choice", "rationale")
        if isinstance(item, ActivationItem)
        else ("dilemma", "aligned", "violating")
    )
    for name in names:
        yield name, getattr(item, name)

"""Words of a text, in any language.

A letter of a script written without spaces is a word of its own.
"""

import re
import unicodedata
from collections.abc import Sequence
from functools import cache
from itertools import islice

from vxdist.corpus.items import ActivationItem, EvaluationItem

Items = Sequence[ActivationItem | EvaluationItem]
UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
)
"""Thai, Lao, Burmese, Khmer, kana, Han."""


def split_words(text: str) -> list[str]:
    """Words in lower case, or single letters where words are not set apart."""
    return _word().findall(unicodedata.normalize("NFC", text.lower()))


@cache
def _word() -> re.Pattern[str]:
    """Letters with their marks: Hindi writes vowels as marks.

    Marks beyond U+FFFF, of scripts that nobody writes today, would make it twenty times as slow.
    """
    plane = map(chr, range(0x300, 0x10000))
    marks = "".join(letter for letter in plane if unicodedata.category(letter)[0] == "M")
    return re.compile(rf"[{UNSPACED}]|(?:[^\W{UNSPACED}]+[{marks}]*)+")


def shingle(text: str, length: int) -> list[str]:
    """Runs of `length` words; of a shorter text, all of it."""
    words = split_words(text)
    runs = zip(*(islice(words, n, None) for n in range(length)), strict=False)
    return [" ".join(run) for run in runs] or [" ".join(words)]


def whole_text(item: ActivationItem | EvaluationItem) -> str:
    """All that a model may be shown of an item."""
    if isinstance(item, ActivationItem):
        return f"{item.dilemma} {item.choice} {item.rationale}"
    return f"{item.dilemma} {item.aligned} {item.violating}"

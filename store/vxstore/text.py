"""Text from files and stores, made safe to print."""

import re
from collections.abc import Sequence

# C0 and C1 controls, directional overrides, line separators, and lone surrogates.
UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def clean(text: object) -> str:
    """`text` on one line, without what a terminal would obey or could not show."""
    return UNSAFE.sub("", re.sub(r"[\t\n\r\u2028\u2029]+", " ", str(text)))


_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
"""How a cell begins that a spreadsheet computes, half and full width (OWASP, CSV injection)."""


def as_cell(text: str, *, numbers: bool = False) -> str:
    """`text` as a cell of a CSV file that no spreadsheet computes: an apostrophe before a formula.

    With `numbers`, a text that is a number, as in a list of one, is left as it is.
    """
    if not text.lstrip(" \u00a0\u3000").startswith(_FORMULA):
        return text
    return text if numbers and _NUMBER.fullmatch(text) else f"'{text}"


_NUMBER = re.compile(r"[-+]?\d+(\.\d+)?([eE][-+]?\d+)?( [-+]?\d+(\.\d+)?([eE][-+]?\d+)?)*")


def plural(count: int, noun: str, nouns: str | None = None) -> str:
    """`1 part`, `2 parts`; `nouns` where the plural is not made with an s."""
    return f"{count:,} {noun if count == 1 else nouns or f'{noun}s'}"


def listing(words: Sequence[str], last: str = "and") -> str:
    """`a`, `a and b`, `a, b and c`; `last` is the word before the last."""
    return f" {last} ".join(filter(None, (", ".join(words[:-1]), *words[-1:])))


def shorten(item: object, most: int = 60) -> str:
    """`item` on one line of at most `most` characters, the last an ellipsis if it is cut."""
    text = clean(item)
    return text if len(text) <= most else text[: most - 1] + "…"


def name_binary(content: bytes) -> str | None:
    """What a file is that somebody took for text, by how it begins; None if it may be text."""
    if content.startswith(b"PK\x03\x04"):
        # The names of a zip file's members are not compressed.
        office = {b"xl/": "an Excel workbook", b"word/": "a Word document"}
        return next((name for part, name in office.items() if part in content), "a zip file")
    for magic, name in _MAGIC.items():
        if content.startswith(magic):
            return name
    return None


_MAGIC = {
    b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1": "an Excel workbook of the old kind (.xls), or another "
    "Office file",
    b"PAR1": "a Parquet file",
    b"\x1f\x8b": "a gzip file",
    b"%PDF": "a PDF file",
    b"\x89HDF": "an HDF5 file",
    b"GGUF": "a GGUF file",
}
"""How files begin."""

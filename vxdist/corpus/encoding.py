"""Text out of bytes, in the encoding named; and which one to name where that is another."""

import codecs
import contextlib
from pathlib import Path

from vxdist.errors import UserError

SETTING = "corpus.encoding: "
UTF8 = "utf-8"
GBK_SHARE = 0.9


def has_half_pair(text: str) -> bool:
    """Whether half of a surrogate pair stands in it, which JSON can hold and no file can."""
    return any("\ud800" <= letter <= "\udfff" for letter in text)


def replace_half_pairs(text: str) -> str:
    """The text with a question mark for each."""
    return text.encode(errors="replace").decode()


class Undecodable(Exception):
    """Bytes that are no text in the encoding named: in which line, and what to do."""

    def __init__(self, line: int, what: str) -> None:
        super().__init__(what)
        self.line, self.what = line, what


def decode_text(file: Path, encoding: str, option: str) -> str:
    """Text of a file; `option` is what sets its encoding. Raises UserError if it is in another."""
    try:
        return decode(file.read_bytes(), encoding, f"{option} ")
    except Undecodable as error:
        raise UserError(f"{file}:{error.line}: {error.what}") from error


def decode(content: bytes, encoding: str, option: str) -> str:
    """Text of a file; `option` is what sets its encoding, with what parts it from a name.

    UTF-8 is read strictly, with or without a byte order mark. Raises Undecodable, or UserError if
    there is no such encoding.
    """
    try:
        name = codecs.lookup(encoding).name
        return content.decode("utf-8-sig" if name == UTF8 else name)
    except UnicodeDecodeError as error:
        number = content[: error.start].count(b"\n") + 1
        what = f"not {name.upper()} (byte {error.start})"
        raise Undecodable(number, f"{what}; {_offer(content, name, option)}") from error
    except (LookupError, UnicodeError) as error:
        raise UserError(
            f"{option}{encoding!r} is not known; expected utf-8, gb18030 (all of GBK) or "
            "another of Python's"
        ) from error


def _offer(content: bytes, encoding: str, option: str) -> str:
    """What to do about bytes that are not in the encoding named."""
    if encoding != UTF8:
        return f"leave {option.strip(': ')} out if it is UTF-8"
    how = f"{option}NAME"
    if option == SETTING:
        how += " (--encoding NAME where that is an option)"
    if _reads_as_gbk(content):
        return f"it reads as GBK: give {how.replace('NAME', 'gb18030')}, or save it as UTF-8"
    return f"save it as UTF-8, or name its encoding with {how}, as gb18030 (GBK) or cp1252"


def _reads_as_gbk(content: bytes) -> bool:
    """Whether they look like it: what is not ASCII is nearly all in GB 2312, the common Chinese
    letters and signs, which texts in other encodings hit by chance only."""
    try:
        foreign = [letter for letter in content.decode("gb18030") if not letter.isascii()]
    except UnicodeDecodeError:
        return False
    common = 0
    for letter in foreign:
        with contextlib.suppress(UnicodeEncodeError):
            letter.encode("gb2312")
            common += 1
    return common > GBK_SHARE * len(foreign)

"""Decode files in a given encoding; if that fails, suggest the right one."""

import codecs
import contextlib
import stat
from pathlib import Path

from vxdist.errors import UserError
from vxstore.text import name_binary

SETTING = "corpus.encoding: "
UTF8 = "utf-8"
LARGEST, LONGEST_LINE = 2 << 30, 16 << 20
"""Bytes of a text file, and of one of its lines. The paper's corpus would have some 200 MB."""
GBK_FRACTION = 0.9
"""Fraction of non-ASCII characters in GB 2312 above which bytes are taken for GBK."""


def has_lone_surrogate(text: str) -> bool:
    """Whether a text contains a lone surrogate, which JSON can express but UTF-8 cannot."""
    return any("\ud800" <= character <= "\udfff" for character in text)


def replace_lone_surrogates(text: str) -> str:
    """The text with a question mark in place of each lone surrogate."""
    return text.encode(errors="replace").decode()


class Undecodable(Exception):
    """Bytes that cannot be decoded: the line they are in, and what to do about them."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line, self.message = line, message


def read_bounded(file: Path) -> bytes:
    """The content of a text file. Raises Undecodable, before it is in memory, if it is no ordinary
    file, or it or a line of it is longer than any text of a corpus; and OSError."""
    about = file.stat()
    if not stat.S_ISREG(about.st_mode) and not stat.S_ISDIR(about.st_mode):
        raise Undecodable(1, "is no ordinary file; give a file of text")
    if about.st_size > LARGEST:
        raise Undecodable(1, f"has {about.st_size:,} bytes, expected at most {LARGEST:,}; split it")
    if about.st_size > LONGEST_LINE:
        _check_lines(file)
    return file.read_bytes()


def _check_lines(file: Path) -> None:
    number, length = 1, 0
    with file.open("rb") as stream:
        while piece := stream.read(1 << 20):
            head, *others = piece.split(b"\n")
            length += len(head)
            if length > LONGEST_LINE:
                raise Undecodable(number, f"a line of more than {LONGEST_LINE:,} bytes; split it")
            if others:
                number, length = number + len(others), len(others[-1])


def decode_text(file: Path, encoding: str, option: str) -> str:
    """Read a text file. `option` is the option or setting that names the encoding.

    Raises UserError if the file is not in that encoding.
    """
    try:
        return decode(read_bounded(file), encoding, f"{option} ")
    except Undecodable as error:
        raise UserError(f"{file}:{error.line}: {error.message}") from error


def decode(content: bytes, encoding: str, option: str) -> str:
    """Decode the content of a file. `option` names the encoding option, including its separator.

    A byte order mark is not part of the text. Raises Undecodable, also for an Excel workbook or
    another file that is no text, or UserError if the encoding is unknown.
    """
    if (binary := name_binary(content)) is not None:
        raise Undecodable(1, f"is {binary}, not text; {_suggest_text(binary, option)}")
    try:
        name = codecs.lookup(encoding).name
        return content.decode(name).removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        number = content[: error.start].count(b"\n") + 1
        found = f"not {name.upper()} (byte {error.start})"
        raise Undecodable(number, f"{found}; {_suggest(content, name, option)}") from error
    except (LookupError, UnicodeError) as error:
        raise UserError(
            f"{option}unknown encoding {encoding!r}, expected utf-8, gb18030 (includes GBK) or "
            "another one that Python knows"
        ) from error


def _suggest_text(binary: str, option: str) -> str:
    """What to do about a file that is no text."""
    if option.startswith("--"):  # of an import, which reads workbooks too
        for word, form in (("Excel", "excel"), ("Parquet", "parquet")):
            if word in binary:
                return f"import it with --format {form}"
    return "save it as text in UTF-8"


def _suggest(content: bytes, encoding: str, option: str) -> str:
    """What to do about content that is not in the given encoding."""
    if encoding != UTF8:
        return f"if the file is UTF-8, omit {option.strip(': ')}"
    usage = f"{option}NAME"
    if option == SETTING:
        usage += " (or --encoding NAME, for commands that have it)"
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return f"it looks like UTF-16: use {usage.replace('NAME', 'utf-16')}, or save it as UTF-8"
    if _looks_like_gbk(content):
        return f"it looks like GBK: use {usage.replace('NAME', 'gb18030')}, or save it as UTF-8"
    return f"save it as UTF-8, or give its encoding with {usage}, such as gb18030 (GBK) or cp1252"


def _looks_like_gbk(content: bytes) -> bool:
    """Whether nearly all non-ASCII characters, read as GBK, are in GB 2312.

    GB 2312 holds the common Chinese characters; text in other encodings hits them only by chance.
    """
    try:
        characters = [c for c in content.decode("gb18030") if not c.isascii()]
    except UnicodeDecodeError:
        return False
    common = 0
    for character in characters:
        with contextlib.suppress(UnicodeEncodeError):
            character.encode("gb2312")
            common += 1
    return common > GBK_FRACTION * len(characters)

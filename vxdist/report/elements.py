"""What the page is made of: sections, tiles, caveats, cells of heat maps."""

from dataclasses import dataclass

MIDDLE, STRONG = 0.6, 0.85
"""Shades from which text is drawn in the opposite colour, so that its contrast stays above 4.5: the
first on a dark page, the second on a light one."""


@dataclass(frozen=True, kw_only=True)
class Section:
    """A section of the page: its heading, and what its template shows."""

    title: str
    view: object


@dataclass(frozen=True, kw_only=True)
class Tile:
    """One number that a reader should remember."""

    number: str
    caption: str


@dataclass(frozen=True, kw_only=True)
class Caveat:
    """A heading, a paragraph, and perhaps a small table whose first column is a language."""

    title: str
    text: str
    head: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()


@dataclass(frozen=True, kw_only=True)
class Name:
    """What a value is called on the page, and in the other languages of the corpus."""

    id: str
    label: str
    native: tuple[tuple[str, str], ...] = ()
    """(language, name) pairs."""


@dataclass(frozen=True, kw_only=True)
class Shade:
    """One cell: its text, the strength of its colour (0 to 1), CSS classes, and its tooltip."""

    text: str
    alpha: float
    classes: str
    tip: str


@dataclass(frozen=True, kw_only=True)
class MapRow:
    """One row of a heat map."""

    name: Name
    shades: tuple[Shade, ...]
    total: str = ""


def make_shade(text: str, alpha: float, classes: str, tip: str) -> Shade:
    """A cell whose text has enough contrast with its colour."""
    ink = " strong" if alpha > STRONG else " middle" if alpha > MIDDLE else ""
    return Shade(text=text, alpha=round(alpha, 3), classes=f"{classes}{ink}".strip(), tip=tip)

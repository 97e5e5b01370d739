"""Numbers as a reader sees them, and text made safe for a terminal."""

import math
from collections.abc import Sequence

from vxstore.text import listing, plural

__all__ = [
    "digits_for", "every", "fixed", "interval", "listing", "percent", "plural", "printable",
    "signed", "span", "span_of",
]  # fmt: skip

NONE = "–"
MINUS = "\N{MINUS SIGN}"


def signed(number: float, digits: int) -> str:
    """A number with its sign; a true minus, no sign on what rounds to zero, a dash for NaN."""
    if math.isnan(number):
        return NONE
    text = f"{number:+.{digits}f}".replace("-", MINUS)
    return text[1:] if not text.strip(f"+{MINUS}0.") else text


def interval(low: float, high: float, digits: int) -> str:
    """An interval in square brackets; a dash if there is none."""
    if math.isnan(low) or math.isnan(high):
        return NONE
    return f"[{signed(low, digits)}, {signed(high, digits)}]"


def percent(fraction: float, digits: int = 0) -> str:
    """A fraction in percent, never rounded up to 100 nor down to 0; a dash for NaN."""
    if math.isnan(fraction):
        return NONE
    text = f"{fraction:.{digits}%}"
    least = 10.0**-digits
    if fraction < 1 and float(text[:-1]) >= 100:
        return f"more than {100 - least:.{digits}f}%"
    if fraction > 0 and float(text[:-1]) <= 0:
        return f"less than {least:.{digits}f}%"
    return text


def fixed(number: float, digits: int) -> str:
    """A plain decimal; a dash for NaN."""
    return NONE if math.isnan(number) else f"{number:.{digits}f}".replace("-", MINUS)


def every(count: int, noun: str) -> str:
    """`the one control draw`, `all 8 control draws`."""
    return f"the one {noun}" if count == 1 else f"all {plural(count, noun)}"


def span_of(numbers: Sequence[float], noun: str) -> str:
    """`1 cell`, `3 cells`, `2–5 cells`."""
    return f"{span(numbers)} {noun}" + ("" if span(numbers) == "1" else "s")


def span(numbers: Sequence[float], digits: int = 0) -> str:
    """`3`, or `2–5`; a dash if there is no number but NaN."""
    known = [n for n in numbers if not math.isnan(n)]
    if not known:
        return NONE
    least, most = f"{min(known):,.{digits}f}", f"{max(known):,.{digits}f}"
    return least if least == most else f"{least}–{most}"


def digits_for(largest: float) -> int:
    """Decimals that show about two significant figures of the largest magnitude."""
    if not math.isfinite(largest) or largest <= 0:
        return 2
    return min(6, max(1, 1 - math.floor(math.log10(largest))))


def printable(text: str) -> str:
    """Text without control characters, which could steer a terminal."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)

"""Numbers as a reader meets them, and text made safe for a terminal."""

import math

NONE = "–"
MINUS = "\N{MINUS SIGN}"


def signed(number: float, digits: int) -> str:
    """A number with its sign; a true minus, no sign on what rounds to zero, a dash for NaN."""
    if math.isnan(number):
        return NONE
    text = f"{number:+.{digits}f}".replace("-", MINUS)
    return text[1:] if not text.strip(f"+{MINUS}0.") else text


def interval(low: float, high: float, digits: int) -> str:
    """An interval in square brackets; a dash where there is none."""
    if math.isnan(low) or math.isnan(high):
        return NONE
    return f"[{signed(low, digits)}, {signed(high, digits)}]"


def percent(share: float, digits: int = 0) -> str:
    """A share in percent, never rounded up to 100 nor down to 0; a dash for NaN."""
    if math.isnan(share):
        return NONE
    text = f"{share:.{digits}%}"
    least = 10.0**-digits
    if share < 1 and float(text[:-1]) >= 100:
        return f"more than {100 - least:.{digits}f}%"
    if share > 0 and float(text[:-1]) <= 0:
        return f"less than {least:.{digits}f}%"
    return text


def fixed(number: float, digits: int) -> str:
    """A plain decimal; a dash for NaN."""
    return NONE if math.isnan(number) else f"{number:.{digits}f}".replace("-", MINUS)


def plural(count: int, noun: str) -> str:
    """`1 cell`, `2 cells`."""
    return f"{count:,} {noun}" + ("" if count == 1 else "s")


def listing(words: list[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return " and ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else "".join(words)


def digits_for(largest: float) -> int:
    """Decimals that show about two significant figures of the largest magnitude."""
    if not math.isfinite(largest) or largest <= 0:
        return 2
    return min(6, max(1, 1 - math.floor(math.log10(largest))))


def printable(text: str) -> str:
    """Text without control characters, which could steer a terminal."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)

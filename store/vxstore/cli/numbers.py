"""Shifts as numbers for people."""

import math

FEWEST_DIGITS, MOST_DIGITS = 2, 6


def signed(number: float, digits: int) -> str:
    """With its sign, but for what rounds to zero; a dash for NaN."""
    if math.isnan(number):
        return "-"
    text = f"{number:+.{digits}f}"
    return text if text.strip("+-0.") else text[1:]


def digits_for(largest: float) -> int:
    """Decimals that show three figures of the largest number, within limits."""
    if not largest > 0:
        return FEWEST_DIGITS
    return min(MOST_DIGITS, max(FEWEST_DIGITS, 2 - math.floor(math.log10(largest))))

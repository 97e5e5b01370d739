"""Parsing sizes in bytes, and formatting bytes, operations and times."""

import math
import re

from vxdist.errors import UserError

SIZES = {"MB": 10**6, "GB": 10**9, "TB": 10**12, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}
SCALES = {"P": 1e15, "T": 1e12, "G": 1e9, "M": 1e6, "k": 1e3}


def parse_bytes(text: str, option: str) -> int:
    """Number of bytes in a size such as `80GB` or `80GiB`.

    Raises UserError, naming the option, if the number is not above 0 or the unit is missing.
    """
    found = re.fullmatch(r"\s*([0-9.]+)\s*([A-Za-z]+)\s*", text)
    sizes = {unit.lower(): size for unit, size in SIZES.items()}
    try:
        if found is not None and (number := float(found[1])) > 0:
            return round(number * sizes[found[2].lower()])
    except (ValueError, KeyError):
        pass
    units = ", ".join(SIZES)
    raise UserError(f"{option}: found {text!r}, expected a size such as 80GB (units: {units})")


def check_amount(option: str, number: float | None, most: float = math.inf) -> None:
    """Raise UserError, naming the option, unless the number is above 0 and not over `most`."""
    if number is not None and not (0 < number <= most and math.isfinite(number)):
        limit = f" and at most {most:,.0f}" if math.isfinite(most) else ""
        raise UserError(f"--{option.replace('_', '-')}: {number} must be above 0{limit}")


def show_bytes(count: float) -> str:
    """Bytes in decimal units, with about three digits: `141 GB`."""
    for unit in ("TB", "GB", "MB"):
        if count >= SIZES[unit]:
            return f"{_digits(count / SIZES[unit])} {unit}"
    return f"{count / 1e3:.0f} kB"


def show_operations(count: float) -> str:
    """Floating-point operations with about three digits: `5.11 EFLOP`."""
    for unit, scale in {"E": 1e18, **SCALES}.items():
        if count >= scale:
            return f"{_digits(count / scale)} {unit}FLOP"
    return f"{count:.0f} FLOP"


def show_time(seconds: float) -> str:
    """A time in seconds, minutes or hours, whichever suits its size."""
    if seconds >= 3600:
        return f"{_digits(seconds / 3600)} h"
    return f"{_digits(seconds / 60)} min" if seconds >= 60 else f"{_digits(seconds)} s"


def _digits(number: float) -> str:
    return (
        f"{number:,.0f}" if number >= 100 else f"{number:.1f}" if number >= 10 else f"{number:.2f}"
    )

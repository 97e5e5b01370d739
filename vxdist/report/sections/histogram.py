"""A histogram of what was recorded, and of the same under shuffled labels, as SVG paths."""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

MOST_BARS = 30
EVEN = 4
"""Ranges that differ in width by more than this are drawn equally wide."""


@dataclass(frozen=True, kw_only=True)
class Histogram:
    """Paths in a picture of `WIDTH` x `HEIGHT`; `rows` are the numbers, as text.

    Heights are logarithmic: the tails, which hold the claims, are thin.
    """

    title: str
    bars: str
    line: str
    ticks: tuple[tuple[float, str, str], ...]
    words: str
    rows: tuple[tuple[str, ...], ...]
    WIDTH = 320
    HEIGHT = 110


def make_histogram(title: str, facts: Mapping[str, Any]) -> Histogram | None:
    """A histogram from `edges`, `observed` and `shuffled`; None if these are not one."""
    edges, observed, shuffled = (_numbers(facts.get(k)) for k in ("edges", "observed", "shuffled"))
    rising = all(a < b for a, b in itertools.pairwise(edges))
    if not observed or len(edges) != len(observed) + 1 or len(shuffled) != len(observed):
        return None
    if not rising or min(*observed, *shuffled) < 0 or max(*observed, *shuffled) == 0:
        return None
    edges, observed, shuffled = _without_empty_ends(edges, observed, shuffled)
    step = math.ceil(len(observed) / MOST_BARS)
    edges = [*edges[:-1:step], edges[-1]]
    observed, shuffled = (
        [sum(counts[n : n + step]) for n in range(0, len(counts), step)]
        for counts in (observed, shuffled)
    )
    most = math.log1p(max(*observed, *shuffled))
    x = [round(Histogram.WIDTH * at, 1) for at in _places(edges)]
    up, line = (
        [round(Histogram.HEIGHT * (1 - math.log1p(n) / most), 1) for n in counts]
        for counts in (observed, shuffled)
    )
    bars = (f"M{a} {Histogram.HEIGHT}V{y}H{b}V{Histogram.HEIGHT}Z" for a, b, y in _bins(x, up))
    steps = (f"V{y}H{b}" for _, b, y in _bins(x, line))
    words = (
        f"{title}: {sum(observed):,.0f} as recorded and {sum(shuffled):,.0f} with shuffled labels, "
        f"in {len(observed)} ranges from {edges[0]:.3g} to {edges[-1]:.3g}; numbers below"
    )
    return Histogram(
        title=title,
        bars="".join(bars),
        line=f"M0 {Histogram.HEIGHT}{''.join(steps)}V{Histogram.HEIGHT}",
        ticks=_ticks(edges),
        words=words,
        rows=tuple(
            (f"{a:.4g}", f"{b:.4g}", f"{n:,.0f}", f"{m:,.1f}")
            for a, b, (n, m) in _bins(edges, list(zip(observed, shuffled, strict=True)))
        ),
    )


def _bins(edges: Sequence[float], of_bin: Sequence[Any]) -> list[tuple[float, float, Any]]:
    return list(zip(edges[:-1], edges[1:], of_bin, strict=True))


def _without_empty_ends(
    edges: list[float], observed: list[float], shuffled: list[float]
) -> tuple[list[float], list[float], list[float]]:
    """Without the ranges at both ends that nothing is in."""
    used = [n for n, counts in enumerate(zip(observed, shuffled, strict=True)) if any(counts)]
    first, last = used[0], used[-1] + 1
    return edges[first : last + 1], observed[first:last], shuffled[first:last]


def _places(edges: Sequence[float]) -> list[float]:
    """Where edges are drawn, from 0 to 1: to scale, or evenly if ranges differ in width (most are
    then narrow ones near 0)."""
    widths = [b - a for a, b in itertools.pairwise(edges)]
    if max(widths) > EVEN * min(widths[:-1] or widths):
        return [n / len(widths) for n in range(len(edges))]
    return [(edge - edges[0]) / (edges[-1] - edges[0]) for edge in edges]


def _ticks(edges: Sequence[float]) -> tuple[tuple[float, str, str], ...]:
    """Ends of the scale, and an edge near its middle."""
    middle = len(edges) // 2
    at = _places(edges)
    drawn = {0: "start", middle: "middle", len(edges) - 1: "end"}
    return tuple((Histogram.WIDTH * at[n], how, f"{edges[n]:.3g}") for n, how in drawn.items())


def _numbers(items: Any) -> list[float]:
    """Finite numbers; nothing if any is not one."""
    if not isinstance(items, list):
        return []
    found = [float(x) for x in items if isinstance(x, int | float) and abs(x) < 1e300]
    return found if len(found) == len(items) else []

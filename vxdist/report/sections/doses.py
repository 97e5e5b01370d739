"""How the shifts follow the dose: a small curve for each mask and language, and its numbers."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vxdist.report.content import Content
from vxdist.report.elements import Name
from vxdist.report.evaluation import Evaluation
from vxdist.report.text import NONE, digits_for, interval, listing, signed
from vxstore.effect_words import calibration, show_p

Row = Mapping[str, Any]
LEAST_GAP = 26
"""Space between the labels of two doses."""


@dataclass(frozen=True, kw_only=True)
class Curve:
    """Paths in a picture of `WIDTH` x `HEIGHT`: the band of the draws (their mean +- sd), the line
    of the mask, its intervals and points. `slope` and `rows` are the numbers."""

    mask: Name
    language: str
    band: str
    line: str
    spans: tuple[tuple[float, float, float], ...]
    points: tuple[tuple[float, float], ...]
    zero: float
    ticks: tuple[tuple[float, str], ...]
    labels: tuple[tuple[float, str], ...]
    words: str
    slope: str
    rows: tuple[tuple[str, ...], ...]
    is_grey: bool
    WIDTH = 320
    HEIGHT = 120


@dataclass(frozen=True, kw_only=True)
class Doses:
    """The curve that holds the evaluation shown; all on one scale."""

    names: str
    notes: tuple[str, ...]
    curves: tuple[Curve, ...]
    has_draws: bool


def make_doses(content: Content, evaluation: Evaluation) -> Doses | None:
    """The curves of masks on their own value's dilemmas; None if no curve holds the evaluation."""
    found = evaluation.doses
    if found is None:
        return None
    rows = found["curve"].to_dict("records")
    scale = _Scale.over(rows)
    curves = []
    for slope in found["slopes"].dropna(subset=["slope"]).to_dict("records"):
        cell = [r for r in rows if all(r[k] == slope[k] for k in ("mask", "value", "language"))]
        curves.append(_make_curve(content.name(slope["mask"]), cell, slope, found, scale))
    calibrated = calibration(found["null_rate"], found["null_count"])
    return Doses(
        names=listing(found["evaluations"]),
        notes=tuple(filter(None, (found["sentence"], calibrated))),
        curves=tuple(curves),
        has_draws=bool(found["controls"]),
    )


def _make_curve(mask: Name, rows: Sequence[Row], slope: Row, found: Row, scale: "_Scale") -> Curve:
    digits = scale.digits
    points = tuple((scale.x(r["dose"]), scale.y(r["mean_shift"])) for r in rows)
    spans = tuple(
        (scale.x(r["dose"]), scale.y(r["shift_low"]), scale.y(r["shift_high"]))
        for r in rows
        if not math.isnan(r["shift_low"])
    )
    said = _say_slope(slope, found, digits)
    shifts = listing([f"{signed(r['mean_shift'], digits)} at {r['dose']:g}" for r in rows])
    return Curve(
        mask=mask,
        language=slope["language"],
        band=_band(rows, scale),
        line="M" + "L".join(f"{x} {y}" for x, y in points),
        spans=spans,
        points=points,
        zero=scale.y(0.0),
        ticks=_ticks([r["dose"] for r in rows], scale),
        labels=scale.labels(),
        words=f"{mask.label}, {slope['language']}: shift by dose {shifts}; {said}",
        slope=said,
        rows=tuple(_numbers(r, digits) for r in rows),
        is_grey=not (found["fdr"] is not None and slope["q_value"] <= found["fdr"]),
    )


def _ticks(doses: Sequence[float], scale: "_Scale") -> tuple[tuple[float, str], ...]:
    """Doses and where they are, without those that would be written over another."""
    ticks: list[tuple[float, str]] = []
    for dose in doses:
        if not ticks or scale.x(dose) - ticks[-1][0] >= LEAST_GAP:
            ticks.append((scale.x(dose), f"{dose:g}"))
    return tuple(ticks)


def _band(rows: Sequence[Row], scale: "_Scale") -> str:
    """Mean +- sd of the draws along the doses, which meet in the intact model; empty without."""
    ends = []
    for row in rows:
        mean, sd = row["control_mean"], row["control_sd"]
        if row["dose"] == 1:
            mean, sd = 0.0, 0.0
        if math.isnan(mean) or math.isnan(sd):
            return ""
        ends.append((scale.x(row["dose"]), scale.y(mean - sd), scale.y(mean + sd)))
    there = [f"{x} {high}" for x, _, high in ends]
    back = [f"{x} {low}" for x, low, _ in reversed(ends)]
    return f"M{'L'.join(there + back)}Z"


def _say_slope(slope: Row, found: Row, digits: int) -> str:
    low, high = slope["slope_low"], slope["slope_high"]
    said = f"slope {signed(slope['slope'], digits)} {interval(low, high, digits)}"
    if math.isnan(slope["p_value"]):
        return said
    p, q = (
        show_p(slope[key], found["controls"] or 0, found["p_source"])
        for key in ("p_value", "q_value")
    )
    return f"{said}, p {p}, q {q}"


def _numbers(row: Row, digits: int) -> tuple[str, ...]:
    mean, sd = row["control_mean"], row["control_sd"]
    draws = signed(mean, digits)
    return (
        f"{row['dose']:g}",
        row["evaluation"],
        signed(row["mean_shift"], digits),
        interval(row["shift_low"], row["shift_high"], digits),
        draws if math.isnan(sd) or draws == NONE else f"{draws} ± {sd:.{digits}f}",
    )


@dataclass(frozen=True, kw_only=True)
class _Scale:
    """Doses from left to right, shifts upwards, zero among them."""

    least: float
    most: float
    low: float
    high: float
    MARGIN = 8
    LEFT = 52

    @classmethod
    def over(cls, rows: Sequence[Row]) -> "_Scale":
        ends = [(r["control_mean"] + k * r["control_sd"]) for r in rows for k in (-1, 1)]
        shifts = [r[k] for r in rows for k in ("mean_shift", "shift_low", "shift_high")]
        known = [0.0, *(n for n in shifts + ends if not math.isnan(n))]
        low, high = min(known), max(known)
        doses = [r["dose"] for r in rows] or [0.0, 1.0]
        return cls(
            least=min(doses), most=max(doses), low=low, high=high if high > low else low + 1.0
        )

    @property
    def digits(self) -> int:
        """Decimals of shifts."""
        return digits_for(max(abs(self.low), abs(self.high))) + 1

    def x(self, dose: float) -> float:
        fraction = (dose - self.least) / (self.most - self.least)
        return round(self.LEFT + fraction * (Curve.WIDTH - self.LEFT - self.MARGIN), 1)

    def y(self, shift: float) -> float:
        fraction = (self.high - shift) / (self.high - self.low)
        return round(self.MARGIN + fraction * (Curve.HEIGHT - 2 * self.MARGIN), 1)

    def labels(self) -> tuple[tuple[float, str], ...]:
        """Heights of zero and of the ends, where they are not too close to it."""
        ends = [n for n in (self.low, self.high) if abs(self.y(n) - self.y(0.0)) > 14]
        return tuple((self.y(n), signed(n, self.digits - 1)) for n in (0.0, *ends))

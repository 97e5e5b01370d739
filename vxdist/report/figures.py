"""What the template draws: cells with their shade and their words.

Heatmaps are HTML tables, not plotly: every number is text that can be read without a script, by a
screen reader or on paper, and the page weighs about a thirtieth of plotly's 4.5 MB.
"""

import math
from dataclasses import dataclass

from vxdist.report.content import Content, Name
from vxdist.report.outcome import Cell, Outcome
from vxdist.report.selection import Selection
from vxdist.report.text import interval, percent, plural, signed

MIDDLE, STRONG = 0.6, 0.85
"""Ink turns above the first on a dark page, above the second on a light one: contrast 4.5."""


@dataclass(frozen=True, kw_only=True)
class Shade:
    """One cell: its text, how strong its colour is (0 to 1), CSS classes, what a pointer shows."""

    text: str
    alpha: float
    classes: str
    tip: str


@dataclass(frozen=True, kw_only=True)
class MapRow:
    """One row of a heatmap."""

    name: Name
    shades: tuple[Shade, ...]
    total: str = ""


@dataclass(frozen=True, kw_only=True)
class LayerMap:
    """Selected neurons of one language by value and layer, with bars for the layers' totals."""

    language: str
    rows: tuple[MapRow, ...]
    bars: tuple[Shade, ...]
    tallest: int
    neurons: int


def layer_maps(content: Content) -> list[LayerMap]:
    """One for each language and one pooled, on one scale."""
    most = largest_count(content)
    return [_layer_map(content, s, most) for s in content.selections]


def largest_count(content: Content) -> int:
    """The end of the scale of the layer maps."""
    return max((int(s.count_LV.max(initial=0)) for s in content.selections), default=0)


def _layer_map(content: Content, selection: Selection, most: int) -> LayerMap:
    rows = []
    for v, name in enumerate(content.names.values()):
        count_L = selection.count_LV[:, v]
        shades = tuple(
            _shade(
                str(count),
                0.08 + 0.92 * count / most if count else 0.0,
                "",
                f"{name.label}, layer {layer}, {selection.language}\n{plural(count, 'neuron')}",
            )
            for layer, count in enumerate(count_L.tolist())
        )
        rows.append(MapRow(name=name, shades=shades, total=f"{int(count_L.sum()):,}"))
    distinct_L = [int((selection.layer_S == n).sum()) for n in range(selection.num_layers)]
    tallest = max(distinct_L, default=0)
    bars = tuple(
        _shade(
            str(n),
            n / tallest if n else 0.0,
            "",
            f"Layer {layer}, {selection.language}\n{plural(n, 'neuron')} of any value",
        )
        for layer, n in enumerate(distinct_L)
    )
    return LayerMap(
        language=selection.language,
        rows=tuple(rows),
        bars=bars,
        tallest=tallest,
        neurons=len(selection.layer_S),
    )


def _shade(text: str, alpha: float, classes: str, tip: str) -> Shade:
    ink = " strong" if alpha > STRONG else " middle" if alpha > MIDDLE else ""
    return Shade(text=text, alpha=round(alpha, 3), classes=f"{classes}{ink}".strip(), tip=tip)


@dataclass(frozen=True, kw_only=True)
class EffectMap:
    """The effect matrix of one language; rows are masks, columns the values of the dilemmas."""

    language: str
    columns: tuple[Name, ...]
    rows: tuple[MapRow, ...]


def effect_maps(content: Content, outcome: Outcome) -> list[EffectMap]:
    """One for each language, on one scale, centred on 0."""
    names = [content.name(mask) for mask in outcome.masks]
    largest, digits = outcome.largest_shift, outcome.digits
    by_key = {(c.language, c.mask, c.value): c for c in outcome.cells}
    return [
        EffectMap(
            language=language,
            columns=tuple(names),
            rows=tuple(
                MapRow(
                    name=row,
                    shades=tuple(
                        _effect_shade(
                            by_key[language, row.id, column.id], row, column, largest, digits
                        )
                        for column in names
                    ),
                )
                for row in names
            ),
        )
        for language in outcome.languages
    ]


def _effect_shade(cell: Cell, row: Name, column: Name, largest: float, digits: int) -> Shade:
    missing = math.isnan(cell.mean_shift)
    alpha = 0.0 if missing or not largest else abs(cell.mean_shift) / largest
    classes = ["missing" if missing else "up" if cell.mean_shift > 0 else "down"]
    classes += ["own"] * cell.own + ["clear"] * cell.excludes_zero
    classes += ["passes"] * bool(cell.passes)
    fine = digits + 1
    tip = [
        f"{row.label} off, {column.label} dilemmas, {cell.language}",
        f"Mean shift {signed(cell.mean_shift, fine)} nats "
        f"{interval(cell.shift_low, cell.shift_high, fine)}",
        f"Flips {percent(cell.flip_rate)} of {plural(cell.dilemma_count, 'dilemma')}",
        f"Controls: mean {signed(cell.control_mean, fine)}; the mask lies {cell.among}",
        f"{plural(cell.masked_count, 'neuron')} off",
        *["The interval excludes zero"] * cell.excludes_zero,
        *["The shift lies outside all control draws"] * cell.beyond_controls,
    ]
    return _shade(signed(cell.mean_shift, digits), alpha, " ".join(classes), "\n".join(tip))

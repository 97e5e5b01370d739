"""The selected neurons by value and layer, as heat maps.

Heat maps are HTML tables, not plotly: every number is text that can be read without a script, by a
screen reader or on paper, and the page is about a thirtieth of plotly's 4.5 MB.
"""

from dataclasses import dataclass

from vxdist.report.content import Content
from vxdist.report.elements import MapRow, Section, Shade, make_shade
from vxdist.report.selection import Selection
from vxdist.report.text import plural
from vxstore.schema import POOLED


@dataclass(frozen=True, kw_only=True)
class LayerMap:
    """Selected neurons of one language by value and layer, with bars for the totals of layers."""

    language: str
    rows: tuple[MapRow, ...]
    bars: tuple[Shade, ...]
    tallest: int
    neurons: int


@dataclass(frozen=True, kw_only=True)
class SelectionView:
    """The maps on one scale, up to `largest`; every `tick_every` layers one is numbered."""

    maps: tuple[LayerMap, ...]
    largest: int
    tick_every: int
    has_pooled: bool


def make_section(content: Content) -> Section:
    """One map for each language, and one of them pooled if the score has it."""
    selections = content.score.selections
    largest = max((int(s.count_LV.max(initial=0)) for s in selections), default=0)
    view = SelectionView(
        maps=tuple(_layer_map(content, s, largest) for s in selections),
        largest=largest,
        tick_every=_tick_every(content.recording.num_layers),
        has_pooled=any(s.language == POOLED for s in selections),
    )
    return Section(title="Selected neurons", view=view)


def _tick_every(num_layers: int) -> int:
    return next((k for k in (1, 2, 5, 10) if num_layers / k <= 16), 20)


def _layer_map(content: Content, selection: Selection, largest: int) -> LayerMap:
    rows = []
    for v, name in enumerate(content.names.values()):
        count_L = selection.count_LV[:, v].tolist()
        shades = tuple(
            make_shade(
                str(count),
                0.08 + 0.92 * count / largest if count else 0.0,
                "",
                f"{name.label}, layer {layer}, {selection.language}\n{plural(count, 'neuron')}",
            )
            for layer, count in enumerate(count_L)
        )
        rows.append(MapRow(name=name, shades=shades, total=f"{sum(count_L):,}"))
    distinct_L = selection.count_L.tolist()
    tallest = max(distinct_L, default=0)
    bars = tuple(
        make_shade(
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
        neurons=len(selection.neurons_S2),
    )

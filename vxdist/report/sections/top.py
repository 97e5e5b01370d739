"""The neurons that rank first, for each value and language."""

from dataclasses import dataclass

from vxdist.report.content import Content
from vxdist.report.elements import Name, Section
from vxdist.report.score import Score
from vxdist.report.selection import Selection
from vxdist.report.text import fixed


@dataclass(frozen=True, kw_only=True)
class TopTable:
    """The neurons that one value has in one language."""

    language: str
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, kw_only=True)
class TopView:
    """For each value its tables, one for each language."""

    score: Score
    has_experts: bool
    head: tuple[str, ...]
    values: tuple[tuple[Name, tuple[TopTable, ...]], ...]


def make_section(content: Content) -> Section:
    """The selected neurons that the score ranks first."""
    view = TopView(
        score=content.score,
        has_experts=bool(content.recording.num_experts),
        head=("Neuron", content.score.title.capitalize(), "p", "p others", "Values", "Level"),
        values=tuple(
            (name, tuple(_top_table(content, s, v) for s in content.score.selections))
            for v, name in enumerate(content.names.values())
        ),
    )
    return Section(title="Top neurons", view=view)


def _top_table(content: Content, selection: Selection, value: int) -> TopTable:
    rows = tuple(
        (
            neuron.name,
            fixed(neuron.number, content.score.digits),
            fixed(neuron.probability, 3),
            fixed(neuron.others, 3),
            str(neuron.value_count),
            content.score.claims.title(neuron.level),
        )
        for neuron in selection.top(value, content.top_neurons)
    )
    return TopTable(language=selection.language, rows=rows)

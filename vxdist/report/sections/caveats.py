"""Caveats: on the selection, then on the effects."""

from dataclasses import dataclass

from vxdist.report.content import Content
from vxdist.report.elements import Caveat, Section
from vxdist.report.sections.effect_caveats import effect_caveats
from vxdist.report.sections.selection_caveats import selection_caveats


@dataclass(frozen=True, kw_only=True)
class CaveatsView:
    """All caveats that apply."""

    caveats: tuple[Caveat, ...]


def make_section(content: Content) -> Section:
    """The caveats."""
    return Section(title="Caveats", view=CaveatsView(caveats=caveats(content)))


def caveats(content: Content) -> tuple[Caveat, ...]:
    """All that apply, those on the selection first."""
    return (*selection_caveats(content), *effect_caveats(content))

"""The head of the page: the findings, the reasons for doubt, and key numbers."""

from dataclasses import dataclass

from vxdist.report.content import Content
from vxdist.report.elements import Tile
from vxdist.report.evaluation import Evaluation
from vxdist.report.findings import claimed, finding, selected
from vxdist.report.notes import outcome_notes, selector_notes
from vxdist.report.text import span


@dataclass(frozen=True, kw_only=True)
class Overview:
    """Paragraphs and tiles."""

    statement: tuple[str, ...]
    tiles: tuple[Tile, ...]


def make_overview(content: Content) -> Overview:
    """The head of the page."""
    return Overview(statement=statement(content), tiles=tiles(content))


def statement(content: Content) -> tuple[str, ...]:
    """What was selected, what ablating it did, and a warning if the outcome has one."""
    paragraphs = [selected(content, selector_notes(content)), *claimed(content)]
    if content.evaluation is None:
        return (*paragraphs, f"{content.missing} What these neurons do is not known.")
    paragraphs.append(finding(content.evaluation))
    warning = outcome_notes(content).warning
    return (*paragraphs, *([warning] if warning else []))


def tiles(content: Content) -> tuple[Tile, ...]:
    """Key numbers of the selection and of the evaluation."""
    belongs = Tile(
        number=span([s.values_per_neuron for s in content.score.by_language], 1),
        caption=f"values per selected neuron, out of {len(content.names)}",
    )
    found = (*selector_notes(content).tiles, belongs)
    if content.evaluation is None:
        return found
    return (*found, *_verdict(content.evaluation), *outcome_notes(content).tiles)


def _verdict(evaluation: Evaluation) -> tuple[Tile, ...]:
    verdict = evaluation.verdict
    if not evaluation.is_tested or verdict["untested"]:
        return ()
    count = len({of["mask"] for of in verdict["found"]})
    caption = f"masks move more than their matched draws (q at most {evaluation.fdr:g})"
    return (Tile(number=f"{count} of {verdict['masks']}", caption=caption),)

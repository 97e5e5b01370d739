"""What the stages run: parts or conditions, cut into batches as the stages themselves cut them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from vxdist.config import Config
from vxdist.corpus import Corpus
from vxdist.errors import UserError
from vxdist.estimate.texts import Group, Lengths
from vxdist.evaluate.conditions import make_conditions
from vxdist.plan import pack, share


@dataclass(frozen=True, kw_only=True)
class Unit:
    """A part or a condition; one rank runs it from beginning to end."""

    tokens: int
    """That run, padding included."""
    batches: int
    attended: int
    """Pairs of tokens that attention compares: the sum over texts of the batch's width squared."""
    logits: int
    """Places where the next token is predicted, over all texts."""


@dataclass(frozen=True, kw_only=True)
class Load:
    """The work of a stage: its units, and what its largest batches are like."""

    title: str
    texts: int
    """Different ones; evaluate runs them again under every condition."""
    text_tokens: int
    longest: int
    units: tuple[Unit, ...]
    rows: int
    width: int
    """Texts, and tokens of each, of the batch with the most tokens."""
    logit_rows: int
    logit_places: int
    """Texts, and places in each, of the batch with the most logits."""

    @property
    def tokens(self) -> int:
        """That run, over all units, padding included."""
        return sum(unit.tokens for unit in self.units)

    def busiest(self, ranks: int) -> tuple[Unit, ...]:
        """Units of the rank with the most tokens; evaluate and locate share out alike."""
        shares = share({n: unit.tokens for n, unit in enumerate(self.units)}, ranks)
        most = max(shares, key=lambda keys: sum(self.units[n].tokens for n in keys))
        return tuple(self.units[n] for n in most)

    def steps(self, ranks: int) -> int:
        """Batches of the rank with the most; under zero3 all ranks step as often."""
        shares = share({n: unit.tokens for n, unit in enumerate(self.units)}, ranks)
        return max(sum(self.units[n].batches for n in keys) for keys in shares)


def cut_stories(config: Config, lengths: Lengths, tokens_per_batch: int | None = None) -> Load:
    """Locate's parts. Raises UserError if a group has fewer stories than parts, or a story is
    longer than a batch."""
    settings, number = config.locate, config.locate.parts_per_group
    if number < 1:
        raise UserError(f"locate.parts_per_group: {number} must be at least 1")
    parts = []
    for group, of in lengths.stories.items():
        if len(of) < number:
            raise UserError(
                f"locate.parts_per_group: {number} is more than the {len(of)} stories of "
                f"{'/'.join(group)}; lower it to that at most"
            )
        parts += [of[n::number] for n in range(number)]
    limit = tokens_per_batch or settings.tokens_per_batch
    cut = [_cut([part], limit, settings.max_padding) for part in parts]
    return _join("locate", [n for part in parts for n in part], cut)


def cut_questions(
    config: Config, corpus: Corpus, lengths: Lengths, tokens_per_batch: int | None = None
) -> Load | None:
    """Evaluate's conditions; None if there is no dilemma to ask. Raises UserError as above, or if
    the settings name no conditions."""
    settings = config.evaluate
    if not corpus.evaluation and not any(lengths.questions.values()):
        return None
    for value in settings.values or ():
        if value not in corpus.values:
            raise UserError(
                f"evaluate.values: {value!r} is not in the corpus; there are "
                f"{', '.join(corpus.values)}"
            )
    if settings.controls < 0:
        raise UserError(f"evaluate.controls: {settings.controls} must be 0 or more")
    if not any(lengths.questions.values()):
        raise UserError(
            f"evaluate.values: the corpus has no evaluation dilemmas of {settings.values}"
        )
    limit = tokens_per_batch or settings.tokens_per_batch
    languages = list(lengths.questions.values())
    values = list(corpus.values if settings.values is None else settings.values)
    conditions = make_conditions(values, settings.controls)
    one = _cut(languages, limit, settings.max_padding, count_logits=True)
    load = _join("evaluate", [n for of in languages for n in of], [one])
    return replace(load, units=load.units * len(conditions))


@dataclass(frozen=True, kw_only=True)
class _Cut:
    unit: Unit
    largest: tuple[int, int]
    most_logits: tuple[int, int]


def _cut(
    bins: Sequence[Sequence[int]], limit: int, max_padding: float, *, count_logits: bool = False
) -> _Cut:
    """One unit of texts whose lengths stand in `bins`; a batch holds texts of one bin."""
    batches = [
        [lengths[i] for i in batch]
        for lengths in bins
        for batch in pack(lengths, tokens_per_batch=limit, max_padding=max_padding)
    ]
    sizes = [(len(batch), batch[0]) for batch in batches]
    # Evaluate keeps the logits of every place where some text of the batch ends.
    places = [(len(batch), len(set(batch))) for batch in batches] if count_logits else [(0, 0)]
    return _Cut(
        unit=Unit(
            tokens=sum(rows * width for rows, width in sizes),
            batches=len(batches),
            attended=sum(rows * width**2 for rows, width in sizes),
            logits=sum(rows * kept for rows, kept in places),
        ),
        largest=max(sizes, key=_product),
        most_logits=max(places, key=_product),
    )


def _product(pair: tuple[int, int]) -> int:
    return pair[0] * pair[1]


def _join(title: str, lengths: Sequence[int], cuts: Sequence[_Cut]) -> Load:
    rows, width = max((cut.largest for cut in cuts), key=_product)
    logit_rows, logit_places = max((cut.most_logits for cut in cuts), key=_product)
    return Load(
        title=title,
        texts=len(lengths),
        text_tokens=sum(lengths),
        longest=max(lengths),
        units=tuple(cut.unit for cut in cuts),
        rows=rows,
        width=width,
        logit_rows=logit_rows,
        logit_places=logit_places,
    )


def count_labels(stories: Mapping[Group, Sequence[int]]) -> tuple[int, int]:
    """(values, languages) of the stories."""
    return len({group[0] for group in stories}), len({group[1] for group in stories})

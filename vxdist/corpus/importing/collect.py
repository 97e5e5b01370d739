"""What an import gathers: items, and rows that were dropped with the reason."""

from dataclasses import dataclass, field

from vxdist.corpus.encoding import replace_half_pairs
from vxdist.corpus.items import ActivationItem, EvaluationItem
from vxdist.corpus.lines import Claims, Faulty, FileOfItems, Item, check_item
from vxdist.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Dropped:
    """A row that was not imported."""

    where: str
    """FILE:LINE, or FILE:SHEET:ROW."""
    reason: str
    """The same words for all rows of a kind."""
    found: str = ""


@dataclass(kw_only=True)
class Collected:
    """The corpus as it grows; every item in it is one that the reader of corpora takes."""

    activation: list[ActivationItem] = field(default_factory=list)
    evaluation: list[EvaluationItem] = field(default_factory=list)
    dropped: list[Dropped] = field(default_factory=list)
    rows: int = 0
    remarks: list[str] = field(default_factory=list)
    """What whoever uses the corpus should know of this import."""
    clashes: list[str] = field(default_factory=list)
    """Rows whose names others have: the columns mapped do not tell them apart."""
    _seen: set[tuple[str, ...]] = field(default_factory=set)
    _claims: tuple[Claims, Claims] = field(default_factory=lambda: (Claims(), Claims()))
    _places: dict[str, str] = field(default_factory=dict)
    """Where the evaluation dilemmas of this import come from, by id."""

    def begin_with(
        self, activation: FileOfItems[ActivationItem], evaluation: FileOfItems[EvaluationItem]
    ) -> None:
        """Take what is in a corpus already."""
        self.activation += activation.items
        self.evaluation += evaluation.items
        self._know(activation)
        self._know(evaluation)

    def _know(self, file: FileOfItems[Item]) -> None:
        for item, line in zip(file.items, file.lines, strict=True):
            self._claims_of(item).claim(item, f"{file.file}:{line}")
            self._seen.add(_key(item))

    def drop(self, where: str, reason: str, found: str = "") -> None:
        """Leave a row out."""
        # Half a surrogate pair can be neither printed nor saved.
        where, reason, found = map(replace_half_pairs, (where, reason, found[:120]))
        self.dropped.append(Dropped(where=where, reason=reason, found=found))

    def add_story(self, item: ActivationItem, where: str) -> None:
        """Take a story, unless the same one is there already or no corpus may hold it."""
        if self._may_add(item, where):
            self.activation.append(item)

    def add_dilemma(self, item: EvaluationItem, where: str) -> None:
        """Take an evaluation dilemma, unless it is there already or no corpus may hold it."""
        if self._may_add(item, where):
            self.evaluation.append(item)
            self._places[item.id] = where

    def _may_add(self, item: ActivationItem | EvaluationItem, where: str) -> bool:
        try:
            check_item(item)
        except Faulty as error:
            self.drop(where, str(error), item.dilemma)
            return False
        if _key(item) in self._seen:
            self.drop(where, "the same text of the same value stands there already", item.dilemma)
            return False
        claims = self._claims_of(item)
        if (value := claims.find_value(item.pair)) not in (None, item.value):
            told = f"{item.pair}: {item.value}, elsewhere {value}"
            self.drop(where, "its pair has another value in another row", told)
            return False
        try:
            claims.claim(item, where)
        except Faulty as error:
            self.clashes.append(f"{where}: {error}")
            return False
        self._seen.add(_key(item))
        return True

    def _claims_of(self, item: ActivationItem | EvaluationItem) -> Claims:
        """Of the split that it is in."""
        return self._claims[isinstance(item, ActivationItem)]

    def drop_untold_values(self) -> None:
        """Take out dilemmas of a value and language without stories: they cannot be looked at.

        Only those of this import: what was there before is left to its owner.
        """
        known = {(item.value, item.language) for item in self.activation}
        kept, reason = [], "an evaluation dilemma of a value that has no stories"
        for item in self.evaluation:
            if (item.value, item.language) in known or item.id not in self._places:
                kept.append(item)
            else:
                self.drop(self._places[item.id], reason, item.value)
        self.evaluation = kept

    def refuse_clashes(self) -> None:
        """Raise UserError if the columns mapped do not tell the rows apart."""
        if self.clashes:
            more = len(self.clashes) - 1
            raise UserError(
                f"{self.clashes[0]}{f' (and {more:,} more rows like it)' if more else ''}; map to "
                "id a column that tells all rows apart, to pair one that the languages and stances "
                "of a dilemma share, or leave both out"
            )


def _key(item: ActivationItem | EvaluationItem) -> tuple[str, ...]:
    """What makes two items the same: all but their names, setting and rival."""
    about = (item.value, item.language, item.dilemma)
    if isinstance(item, ActivationItem):
        return (*about, item.stance, item.choice, item.rationale)
    return (*about, item.aligned, item.violating)

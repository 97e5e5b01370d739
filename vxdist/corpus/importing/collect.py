"""The items that an import collects, and the rows that it drops with the reason."""

from dataclasses import dataclass, field, replace

from vxdist.corpus.encoding import replace_lone_surrogates
from vxdist.corpus.importing.account import Change, Column
from vxdist.corpus.items import ActivationItem, EvaluationItem
from vxdist.corpus.lines import Claims, FileOfItems, InvalidItem, Item, check_item
from vxdist.errors import UserError
from vxstore.text import plural


@dataclass(frozen=True, kw_only=True)
class Dropped:
    """A row that was not imported."""

    where: str
    """FILE:LINE, or FILE:SHEET:ROW."""
    reason: str
    """Worded alike for all rows with the same problem, so that they can be counted."""
    found: str = ""


@dataclass(kw_only=True)
class Collected:
    """The growing corpus; every item in it is one that the corpus reader accepts."""

    activation: list[ActivationItem] = field(default_factory=list)
    evaluation: list[EvaluationItem] = field(default_factory=list)
    dropped: list[Dropped] = field(default_factory=list)
    columns: list[Column] = field(default_factory=list)
    """Every column that was found, taken or not."""
    changes: dict[str, Change] = field(default_factory=dict)
    """By what was changed."""
    rows: int = 0
    remarks: list[str] = field(default_factory=list)
    """What users of the corpus should know about this import."""
    clashes: list[str] = field(default_factory=list)
    """Faults of rows that have the id, or the pair, language and stance, of another row."""
    _seen: set[tuple[str, ...]] = field(default_factory=set)
    _claims: tuple[Claims, Claims] = field(default_factory=lambda: (Claims(), Claims()))
    _sources: dict[str, str] = field(default_factory=dict)
    """Where each evaluation dilemma of this import comes from, by id."""

    def begin_with(
        self, activation: FileOfItems[ActivationItem], evaluation: FileOfItems[EvaluationItem]
    ) -> None:
        """Start from an existing corpus."""
        self.activation += activation.items
        self.evaluation += evaluation.items
        self._register(activation)
        self._register(evaluation)

    def _register(self, file: FileOfItems[Item]) -> None:
        for item, line in zip(file.items, file.lines, strict=True):
            self._claims_of(item).claim(item, f"at {file.file}:{line}")
            self._seen.add(_key(item))

    def drop(self, where: str, reason: str, found: str = "") -> None:
        """Drop a row."""
        # A lone surrogate can be neither printed nor saved.
        where, reason, found = map(replace_lone_surrogates, (where, reason, found[:120]))
        self.dropped.append(Dropped(where=where, reason=reason, found=found))

    def change(self, where: str, what: str) -> None:
        """Note that a cell is not taken as it is in the source."""
        where, what = map(replace_lone_surrogates, (where, what))
        found = self.changes.get(what) or Change(what=what, cells=0, first=where)
        self.changes[what] = replace(found, cells=found.cells + 1)

    def add_story(self, item: ActivationItem, where: str) -> None:
        """Add a story, unless it is invalid or a duplicate."""
        if self._may_add(item, where):
            self.activation.append(item)

    def add_dilemma(self, item: EvaluationItem, where: str) -> None:
        """Add an evaluation dilemma, unless it is invalid or a duplicate."""
        if self._may_add(item, where):
            self.evaluation.append(item)
            self._sources[item.id] = where

    def _may_add(self, item: ActivationItem | EvaluationItem, where: str) -> bool:
        try:
            check_item(item)
        except InvalidItem as error:
            self.drop(where, str(error), item.dilemma)
            return False
        if _key(item) in self._seen:
            self.drop(where, "duplicate: same text and value as another item", item.dilemma)
            return False
        claims = self._claims_of(item)
        if (value := claims.find_value(item.pair)) not in (None, item.value):
            found = f"{item.pair}: {item.value}, elsewhere {value}"
            self.drop(where, "its pair has a different value in another row", found)
            return False
        try:
            claims.claim(item, f"at {where}")
        except InvalidItem as error:
            self.clashes.append(f"{where}: {error}")
            return False
        self._seen.add(_key(item))
        return True

    def _claims_of(self, item: ActivationItem | EvaluationItem) -> Claims:
        """The names claimed in the item's split."""
        return self._claims[isinstance(item, ActivationItem)]

    def drop_values_without_stories(self) -> None:
        """Drop evaluation dilemmas of this import whose value and language have no stories.

        They could not be evaluated. Those that the corpus had before are kept.
        """
        known = {(item.value, item.language) for item in self.activation}
        kept, reason = [], "evaluation dilemma of a value without stories"
        for item in self.evaluation:
            if (item.value, item.language) in known or item.id not in self._sources:
                kept.append(item)
            else:
                self.drop(self._sources[item.id], reason, item.value)
        self.evaluation = kept

    def refuse_clashes(self) -> None:
        """Raise UserError if rows have the same id, or the same pair, language and stance."""
        if self.clashes:
            more = (
                f" (and {plural(len(self.clashes) - 1, 'more such row')})"
                if self.clashes[1:]
                else ""
            )
            raise UserError(
                f"{self.clashes[0]}{more}; map id to a column that is unique to each row, map pair "
                "to one that the languages and stances of a dilemma share, or map neither"
            )


def _key(item: ActivationItem | EvaluationItem) -> tuple[str, ...]:
    """The content of an item: everything but its id, pair, setting and rival."""
    labels = (item.value, item.language, item.dilemma)
    if isinstance(item, ActivationItem):
        return (*labels, item.stance, item.choice, item.rationale)
    return (*labels, item.aligned, item.violating)

"""Which column of a table holds which field."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, replace

from vxdist.corpus.items import ActivationItem, EvaluationItem
from vxdist.errors import UserError

KINDS: Mapping[str, type[ActivationItem] | type[EvaluationItem]] = {
    "activation": ActivationItem,
    "evaluation": EvaluationItem,
}
GENERATED = ("id", "pair")
"""Fields that are derived from the row number if no column is mapped to them."""


@dataclass(frozen=True, kw_only=True)
class ColumnMap:
    """Where each field of an item comes from."""

    split: str
    columns: Mapping[str, str]
    """{field: column}"""
    constants: Mapping[str, str]
    """{field: text}, the same for all items."""
    separator: str | None
    """Separates several values in one cell."""
    left_out: Sequence[str] = ()
    """Columns not to take, although they have a field's name."""
    source: str = ""
    """What the columns are of, for the log."""
    take_named: bool = False
    """Whether a column with a field's name is taken for that field."""

    @property
    def wanted(self) -> list[str]:
        """Columns that must not occur twice."""
        named = [f.name for f in fields(KINDS[self.split])] if self.take_named else []
        free = [n for n in named if n not in (*self.columns, *self.constants, *self.left_out)]
        return [*dict.fromkeys([*self.columns.values(), *free])]

    def complete(self, columns: Sequence[str]) -> "ColumnMap":
        """With the columns that have the name of a field, in any case, taken for that field.

        Raises UserError if two columns have the name of one field, or a story would have a choice
        without a rationale.
        """
        for name in self.left_out:
            if columns and name not in columns:
                known = ", ".join(columns)
                raise UserError(f"--leave-out: no column {name!r}; the columns are {known}")
        if not self.take_named:
            return self
        taken = dict(self.columns)
        for name in (f.name for f in fields(KINDS[self.split])):
            if name not in self.columns and name not in self.constants:
                free = [c for c in columns if c not in (*self.columns.values(), *self.left_out)]
                found = _find_named(name, free)
                taken |= {name: found} if found is not None else {}
        _check_story(self, taken)
        return replace(self, columns=taken)

    def check_names(self) -> None:
        """Raise UserError if a field is unknown or given twice."""
        known = [f.name for f in fields(KINDS[self.split])]
        for option, given in (("--map", self.columns), ("--set", self.constants)):
            for name in given:
                if name not in known:
                    raise UserError(
                        f"{option}: {self.split} items have no field {name!r}, expected one of "
                        f"{', '.join(known)}"
                    )
        if both := [name for name in self.columns if name in self.constants]:
            raise UserError(f"--set {both[0]}: --map {both[0]} is given too; remove one of them")

    def check(self) -> None:
        """Raise UserError if a field is unknown, given twice, or required and not given."""
        self.check_names()
        known = {f.name: f.default is MISSING for f in fields(KINDS[self.split])}
        given_fields = {**self.columns, **self.constants}
        optional = {*GENERATED, "stance", "choice", "rationale"}
        _check_story(self, given_fields)
        supplied = {*given_fields, *optional}
        missing = [name for name, required in known.items() if required and name not in supplied]
        if missing:
            raise UserError(
                f"--map: no column for {', '.join(missing)}; add --map {missing[0]}=COLUMN, or "
                f"--set {missing[0]}=TEXT"
            )


def _find_named(name: str, columns: Sequence[str]) -> str | None:
    """The column that has the name of a field. Raises UserError if several do, but for case."""
    if name in columns:
        return name
    found = [column for column in columns if column.strip().casefold() == name]
    if len(found) > 1:
        raise UserError(
            f"--map: {name} may be the column {' or '.join(map(repr, found))}; add --map "
            f"{name}={found[0]}"
        )
    return found[0] if found else None


def _check_story(mapping: ColumnMap, given: Mapping[str, str]) -> None:
    """Raise UserError if stories are given a choice, but no rationale, or the other way round."""
    halves = [name for name in ("choice", "rationale") if name in given]
    if mapping.split != "activation" or len(halves) != 1:
        return
    hint = ""
    if halves[0] not in (*mapping.columns, *mapping.constants):
        hint = (
            f"; the column {given[halves[0]]!r} is taken for {halves[0]}: add --map for the other, "
            f"or --leave-out {given[halves[0]]!r} for plain texts"
        )
    raise UserError(f"--map: a story needs both choice and rationale, or neither{hint}")


def parse_pairs(option: str, texts: Iterable[str]) -> dict[str, str]:
    """Parse FIELD=NAME options. Raises UserError naming one that is not of this form."""
    return dict(_pairs(option, texts))


def _pairs(option: str, texts: Iterable[str]) -> Iterator[tuple[str, str]]:
    for text in texts:
        name, equals, rest = text.partition("=")
        if not equals or not name or not rest:
            raise UserError(f"{option}: found {text!r}, expected FIELD=NAME")
        yield name, rest

"""What a check of a store finds, and how each finding can be fixed."""

from dataclasses import dataclass, field

RERECORD, RETOTAL, RECOMPUTE, RELIST, RESTORE = (
    "re-record the part",
    "recompute totals",
    "recompute",
    "list it again",
    "restore a copy",
)
"""Fixes: of a part; of the root's sums; of a score or evaluation; of one that the root does not
list; of what nothing else holds."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One fault: the array or file below the store, what is wrong with it, and how to fix it.

    `part` is the part that it belongs to, if any.
    """

    array: str
    what: str
    fix: str
    part: int | None = None


@dataclass(kw_only=True)
class Report:
    """The findings of a check. `notes` are remarks that are no faults."""

    findings: list[Finding] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    unvouched: list[str] = field(default_factory=list)
    """Groups for whose numbers nothing vouches: earlier versions wrote them."""
    parts: int = 0
    sealed: int = 0

    def add(self, array: str, what: str, fix: str, part: int | None = None) -> None:
        """Add a finding."""
        self.findings.append(Finding(array=array, what=what, fix=fix, part=part))

    @property
    def bad_parts(self) -> list[int]:
        """Parts that must be recorded again."""
        return sorted({f.part for f in self.findings if f.fix == RERECORD and f.part is not None})

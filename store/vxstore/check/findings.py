"""What a check of a store takes down."""

from dataclasses import dataclass, field

PART, ROOT_SUM, DERIVED_GROUP, COPY = "part", "root", "derived", "copy"
"""What mends a finding: recording the part anew; summing the parts anew; making the score or
evaluation anew; nothing but a copy of the store."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that is wrong: an array or file below the store, what is wrong with it, what mends
    it, and the part it belongs to, if it does to one."""

    array: str
    what: str
    mend: str
    part: int | None = None


@dataclass(kw_only=True)
class Report:
    """What a check found. `notes` are no damage."""

    findings: list[Finding] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    parts: int = 0
    sealed: int = 0

    def add(self, array: str, what: str, mend: str, part: int | None = None) -> None:
        """Take a finding down."""
        self.findings.append(Finding(array=array, what=what, mend=mend, part=part))

    @property
    def bad_parts(self) -> list[int]:
        """Parts to record anew."""
        return sorted({f.part for f in self.findings if f.mend == PART and f.part is not None})

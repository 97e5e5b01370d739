"""Values and languages that may be one, written in two ways."""

import re
import unicodedata

from vxdist.corpus.check.findings import Checked, Finding
from vxdist.corpus.check.text import Items


def check_labels(items: Items) -> Checked:
    """Report values, and languages, that differ only in case, blanks, hyphens or width."""
    findings = []
    for key in ("value", "language"):
        written: dict[str, dict[str, str]] = {}
        for item in items:
            label = getattr(item, key, None)
            if label is None:  # a neutral passage has no value
                continue
            written.setdefault(_fold(label), {}).setdefault(label, item.id)
        findings += [
            Finding(
                level="error",
                kind="label",
                message=f"{key}s {' and '.join(map(repr, names))} differ only in case or spacing, "
                f"and would be taken for {len(names)} {key}s (first in "
                f"{', '.join(names.values())}); write them alike",
                items=tuple(names.values()),
            )
            for names in written.values()
            if len(names) > 1
        ]
    return Checked(findings=findings)


def _fold(label: str) -> str:
    folded = unicodedata.normalize("NFKC", label).casefold()
    return re.sub(r"[\s_\-]+", " ", folded).strip()

"""Names of values, and the value that each one means."""

import importlib.resources
import re
from collections.abc import Mapping

import yaml


class Labels:
    """Maps names to values, ignoring case, spaces, hyphens and underscores."""

    def __init__(self, names: Mapping[str, str] | None = None, *, keep: bool = False) -> None:
        """`names` adds {name: value}. With `keep`, every other name is a value of its own;
        otherwise only C-Voice's twelve values, under their many names, are known."""
        known = {} if keep else _cvoice_names()
        # `--value Amity=Friendship` means the value that Friendship stands for: friendliness.
        added = {name: known.get(_normalise(v), v) for name, v in (names or {}).items()}
        if not keep:
            known = {_normalise(value): value for value in added.values()} | known
        self._known = known | {_normalise(name): value for name, value in added.items()}
        self._keep = keep

    def find(self, name: str) -> str | None:
        """The value that a name means; None if it is unknown."""
        return self._known.get(_normalise(name), name if self._keep else None)


def _cvoice_names() -> dict[str, str]:
    """All names of C-Voice's twelve values, {name: value}."""
    file = importlib.resources.files("vxdist.corpus.importing") / "labels.yaml"
    values = yaml.safe_load(file.read_text("utf-8"))
    return {
        _normalise(name): value for value, others in values.items() for name in (value, *others)
    }


def _normalise(name: str) -> str:
    return re.sub(r"[\s_\-]+", " ", name.strip()).casefold()

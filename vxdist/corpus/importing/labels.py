"""Values by all names they go by."""

import importlib.resources
import re
from collections.abc import Mapping

import yaml


class Labels:
    """Finds the value of a name."""

    def __init__(self, names: Mapping[str, str] | None = None, *, keep: bool = False) -> None:
        """`names` are further ones, {name: value}; `keep` takes any other name for a value as it
        is written, instead of knowing C-Voice's twelve."""
        known = {} if keep else _normalised()
        # `--value Amity=Friendship` means the value that Friendship is a name of.
        further = {name: known.get(_plain(v), v) for name, v in (names or {}).items()}
        if not keep:
            known = {_plain(value): value for value in further.values()} | known
        self._known = known | {_plain(name): value for name, value in further.items()}
        self._keep = keep

    def find(self, name: str) -> str | None:
        """The value of this name; None if there is none."""
        return self._known.get(_plain(name), name if self._keep else None)


def _normalised() -> dict[str, str]:
    """C-Voice's twelve values by all their names."""
    file = importlib.resources.files("vxdist.corpus.importing") / "labels.yaml"
    values = yaml.safe_load(file.read_text("utf-8"))
    return {_plain(name): value for value, others in values.items() for name in (value, *others)}


def _plain(name: str) -> str:
    return re.sub(r"[\s_\-]+", " ", name.strip()).casefold()

"""The settings that a group of the store was made with, as a configuration of vxdist has them."""

import copy
from typing import Any

from vxstore.errors import StoreError
from vxstore.query.lookup import get_attrs
from vxstore.read import Store

RECORD = "record"
KINDS = ("scores", "evaluation")
GONE = {("reduce", "vape", "precision"): "float64"}
"""Settings of earlier versions, and what they always are now."""


def settings(store: Store, name: str) -> dict[str, Any]:
    """The sections of the configuration that made `record`, a score or an evaluation.

    `name` is the group's, as in `vape` or, where a score and an evaluation share a name,
    `scores/vape`. Run again with these sections, it comes out the same. Raises StoreError if there
    is no such group, or it was written by a version that did not keep its settings.
    """
    group = _find_group(store, name)
    found = store.attrs.get("config") if group == RECORD else get_attrs(store, group).get("config")
    if not isinstance(found, dict):
        raise StoreError(
            f"{store.path}/{group} does not keep the settings that made it: it was written by an "
            "earlier vxdist, or by other software"
        )
    return _without_gone(found)


def _without_gone(sections: dict[str, Any]) -> dict[str, Any]:
    """The sections without settings of earlier versions that a later one refuses.

    One that is left made a difference: that it is gone is then an answer.
    """
    sections = copy.deepcopy(sections)
    for (section, component, key), now in GONE.items():
        found = sections.get(section, {}).get(component, {})
        if isinstance(found, dict) and found.get(key) == now:
            del found[key]
    return sections


def _find_group(store: Store, name: str) -> str:
    groups = [f"{kind}/{known}" for kind in KINDS for known in store.names(kind)]
    if name == RECORD or name in groups:
        return name
    matching = [group for group in groups if group.split("/")[1] == name]
    if len(matching) == 1:
        return matching[0]
    known = ", ".join([RECORD, *(matching or groups)])
    problem = "there are several" if matching else "there is none"
    raise StoreError(f"{store.path}: {problem} called {name!r}; give one of {known}")

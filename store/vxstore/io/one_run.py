"""A derived group is made by one run: its arrays name the run that the group does."""

from collections.abc import Mapping
from typing import Any

from vxstore.errors import StoreError

RUN = "run"
"""The attribute; absent from what was made without a lock, or by an earlier version."""


def check_one_run(path: str, documents: Mapping[str, Mapping[str, Any]]) -> None:
    """Raise StoreError if an array is of another run than its group.

    `documents` are the zarr.json of groups and arrays of the store at `path`, by their names.
    """
    runs = {name: dict(doc.get("attributes", {})).get(RUN) for name, doc in documents.items()}
    for name, doc in documents.items():
        group = name.rpartition("/")[0]
        if doc.get("node_type") == "array" and group in runs and runs[name] != runs[group]:
            raise StoreError(
                f"{path}/{name} was written by another run than {group}; run `vxstore check {path} "
                f"--repair`, and make {group} again"
            )

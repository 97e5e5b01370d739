"""What `vxstore` has vxdist do: called by name, when a command needs it (decisions/009)."""

import importlib
from collections.abc import Mapping
from typing import Any

from vxstore.errors import StoreError

CALLED: Mapping[str, str] = {
    "find_corpus": "vxdist.corpus.read:find_folder",
    "find_recorded": "vxdist.corpus.editions:find_recorded",
    "select": "vxdist.reduce.select:select_by_options",
}
"""Functions as MODULE:NAME. None of them may need torch."""


def call(name: str, *arguments: Any, **options: Any) -> Any:
    """Call one of `CALLED`. Raises StoreError if a package that it needs is not installed."""
    module, _, function = CALLED[name].partition(":")
    try:
        called = getattr(importlib.import_module(module), function)
    except ImportError as error:
        raise StoreError(
            f"this needs {error.name}, which is not installed; `pip install 'vxdist[run]'`"
        ) from error
    return called(*arguments, **options)

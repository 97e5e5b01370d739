"""vxstore: read and query the activation stores that vxdist writes. Needs no torch.

>>> import vxstore
>>> store = vxstore.open("runs/demo.zarr")  # doctest: +SKIP
>>> store.root().active_count.sel(value="patriotism", language="zh")  # doctest: +SKIP
>>> vxstore.top(store, value="patriotism", language="zh", k=5)  # doctest: +SKIP
"""

import importlib
from typing import TYPE_CHECKING, Any

from vxstore.errors import StoreError, UserError

if TYPE_CHECKING:
    from vxstore.query.answers import answers
    from vxstore.query.claimed import claimed
    from vxstore.query.clusters import clusters
    from vxstore.query.compare import compare
    from vxstore.query.describe import describe
    from vxstore.query.doses import doses
    from vxstore.query.effects import effects
    from vxstore.query.export import export
    from vxstore.query.layers import layers
    from vxstore.query.neurons import neuron
    from vxstore.query.null import null
    from vxstore.query.settings import settings
    from vxstore.query.top import top
    from vxstore.read import Store
    from vxstore.read import open_store as open

__all__ = [
    "Store",
    "StoreError",
    "UserError",
    "answers",
    "claimed",
    "clusters",
    "compare",
    "describe",
    "doses",
    "effects",
    "export",
    "layers",
    "neuron",
    "null",
    "open",
    "settings",
    "top",
]

_IN_READ = {"Store": "Store", "open": "open_store"}


def __getattr__(name: str) -> Any:
    """Import xarray and zarr when they are first needed, so that `vxstore --help` is quick."""
    if name in _IN_READ:
        return getattr(importlib.import_module("vxstore.read"), _IN_READ[name])
    if name in __all__:
        return getattr(importlib.import_module("vxstore.query"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__

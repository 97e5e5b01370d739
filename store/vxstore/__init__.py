"""vxstore: read and query the activation stores that vxdist writes. Needs no torch.

>>> import vxstore
>>> store = vxstore.open("runs/demo.zarr")  # doctest: +SKIP
>>> store.root().active_count.sel(value="patriotism", language="zh")  # doctest: +SKIP
"""

from typing import TYPE_CHECKING, Any

from vxstore.errors import StoreError, UserError

if TYPE_CHECKING:
    from vxstore.read import Store
    from vxstore.read import open_store as open

__all__ = ["Store", "StoreError", "UserError", "open"]


def __getattr__(name: str) -> Any:
    """Import xarray and zarr when they are first needed, so that `vxstore --help` is quick."""
    if name in ("Store", "open"):
        from vxstore import read

        return {"Store": read.Store, "open": read.open_store}[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

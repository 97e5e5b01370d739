"""vxstore: read and query the activation stores that vxdist writes. Needs no torch.

>>> import vxstore
>>> store = vxstore.open("runs/demo.zarr")  # doctest: +SKIP
>>> store.root().active_count.sel(value="patriotism", language="zh")  # doctest: +SKIP
"""

from vxstore.errors import StoreError, UserError
from vxstore.read import Store
from vxstore.read import open_store as open

__all__ = ["Store", "StoreError", "UserError", "open"]

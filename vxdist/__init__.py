"""vxdist: find the neurons of a language model that carry human values.

>>> import vxdist
>>> config = vxdist.load_config("configs/demo.yaml", {"store": "demo.zarr"})  # doctest: +SKIP
>>> store = vxdist.locate(config)  # doctest: +SKIP
"""

# Before the functions of the same names: a package that is imported later takes its name.
import vxdist.attribute
import vxdist.evaluate
import vxdist.locate
import vxdist.reduce
import vxdist.report  # noqa: F401
from vxdist.api import *  # noqa: F403
from vxdist.api import __all__ as __all__

__version__ = "0.1.0"

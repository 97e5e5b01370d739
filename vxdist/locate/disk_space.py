"""Checking for free disk space before a model is loaded."""

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from vxdist.errors import UserError
from vxstore.io.storage import is_url
from vxstore.statistics import Statistic


def check_disk_space(
    path: str, *, num_parts: int, neurons: int, statistics: Sequence[Statistic]
) -> None:
    """Raise UserError if the disk has too little space for the store; a URL is not checked.

    The folder is writable by then: the store's lock is in it.
    """
    if is_url(path):
        return
    folder = Path(path).absolute().parent
    per_neuron = sum(np.dtype(row.record_dtype).itemsize for row in statistics)
    need = num_parts * neurons * per_neuron
    free = shutil.disk_usage(folder).free
    if free < need:
        raise UserError(
            f"store: {folder} has {free / 1e9:.1f} GB free, and this run may take {need / 1e9:.1f} "
            "GB; free some space, choose another place, or lower locate.parts_per_group"
        )

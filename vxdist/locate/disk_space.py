"""Checking for free disk space before a model is loaded."""

import shutil
from pathlib import Path

from vxdist.errors import UserError
from vxstore.io.storage import is_url

BYTES_PER_NEURON = 12
"""Of one part: an int32 and two float32, before compression."""


def check_disk_space(path: str, *, num_parts: int, neurons: int) -> None:
    """Raise UserError if the disk has too little space for the store; a URL is not checked.

    The folder is writable by then: the store's lock is in it.
    """
    if is_url(path):
        return
    folder = Path(path).absolute().parent
    need = num_parts * neurons * BYTES_PER_NEURON
    free = shutil.disk_usage(folder).free
    if free < need:
        raise UserError(
            f"store: {folder} has {free / 1e9:.1f} GB free, and this run may take {need / 1e9:.1f} "
            "GB; free some space, choose another place, or lower locate.parts_per_group"
        )

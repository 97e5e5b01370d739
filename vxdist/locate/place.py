"""Trying the disk before a model is loaded."""

import shutil
import tempfile
from pathlib import Path

from vxdist.errors import UserError

BYTES_PER_NEURON = 12
"""Of one part: an int32 and two float32, before compression."""


def check_place(path: str, *, num_parts: int, neurons: int) -> None:
    """Make sure that the store's folder can be written and has room.

    Raises UserError if not.
    """
    folder = Path(path).absolute().parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(b"vxdist")
    except OSError as error:
        raise UserError(
            f"store: cannot write in {folder} ({error.strerror}); choose another place"
        ) from error
    need = num_parts * neurons * BYTES_PER_NEURON
    free = shutil.disk_usage(folder).free
    if free < need:
        raise UserError(
            f"store: {folder} has {free / 1e9:.1f} GB free, and this run may take {need / 1e9:.1f} "
            "GB; free some space, choose another place, or lower locate.parts_per_group"
        )

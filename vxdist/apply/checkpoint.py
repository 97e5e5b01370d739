"""Writing the checkpoint: the base model's files, with the intervention folded into its weights."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vxdist.apply import files
from vxdist.apply.fold import Columns, plan_folds
from vxdist.hooks.interventions import Affine
from vxdist.model.blocks import HookPoints
from vxdist.model.checkpoint import read_tensors
from vxdist.model.decoder import find_decoder
from vxdist.model.down import find_down_projections
from vxdist.model.folder import fingerprint
from vxdist.model.hook_points import find_hook_points
from vxdist.model.load import build_without_weights, check_whole
from vxdist.model.safetensors_header import Tensor
from vxdist.model.source import ModelSource
from vxdist.output import Output
from vxdist.progress import WorkProgress
from vxstore.io.sync import sync

MB = 1 << 20
LARGE = 1 << 30
"""Bytes from which the progress of copying is shown."""


@dataclass(frozen=True, kw_only=True)
class Planned:
    """What will be written, all of it checked."""

    source: ModelSource
    hook_points: HookPoints
    tensors: Mapping[str, Tensor]
    columns: Sequence[Columns]


def plan_checkpoint(
    source: ModelSource,
    neurons: Mapping[int, NDArray[np.integer[Any]]],
    affine: Affine,
    intervention: str,
) -> Planned:
    """Find what to change in the files of `source`; no weights are read.

    Raises UserError if its layout is not supported, a tensor or file of it is missing, its weights
    are packed or shared, or the intervention cannot be folded into them.
    """
    model = build_without_weights(source)
    hook_points = find_hook_points(find_decoder(model))
    check_whole(source, model)
    tensors = read_tensors(source, model)
    projections = find_down_projections(source, model, hook_points, tensors)
    columns = plan_folds(neurons, affine, hook_points, projections, intervention)
    return Planned(source=source, hook_points=hook_points, tensors=tensors, columns=columns)


def write_checkpoint(planned: Planned, folder: Path, output: Output) -> tuple[str, list[str]]:
    """Write weights and what belongs to them into the empty `folder`.

    Returns the fingerprint of the new model, and the names of the tensors that were changed.
    """
    _copy(planned, folder, output)
    changed = files.change_tensors(planned.columns, planned.tensors, folder)
    return fingerprint(folder), changed


def _copy(planned: Planned, folder: Path, output: Output) -> None:
    files.copy_beside(planned.source, folder)
    size = sum(file.stat().st_size for file in files.weight_files(planned.tensors))
    shown = output.shown and size >= LARGE
    progress = WorkProgress("apply", -(-size // MB), "MB", shown=shown, seconds=10.0)
    copied = 0

    def advance(number: int) -> None:
        nonlocal copied
        progress.advance((copied + number) // MB - copied // MB)
        copied += number

    progress.start()
    try:
        files.copy_weights(planned.tensors, folder, advance)
    finally:
        progress.stop()


def finish(partial: Path, out: Path) -> None:
    """Put the written folder in its place, once all of it is on the disk."""
    for file in files.list_files(partial):
        sync(file)
    sync(partial)
    files.refuse_existing(out)
    partial.rename(out)
    sync(out.parent)

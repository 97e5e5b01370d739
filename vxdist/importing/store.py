"""Writing imported counts as a store. L: layer, N: neuron; a part is one file."""

import hashlib
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import numpy as np

from vxdist.errors import UserError
from vxdist.importing.counts import Counts
from vxdist.importing.labels import in_order
from vxstore.finalise import finalise
from vxstore.identity import holds_store
from vxstore.io.lock import current_run, hold, own_run
from vxstore.io.metadata import FILE, STATE_COMPLETE
from vxstore.io.storage import find_storage
from vxstore.read import read_root_attrs
from vxstore.write import PartCounts, PartLabels, Recorder, create

Denominator = Literal["tokens", "questions"]
PACKAGES = ("vxdist", "torch", "zarr", "numpy")
UNKNOWN = "unknown"


@dataclass(frozen=True, kw_only=True)
class ImportedPart:
    """One file, and what its active counts are to be divided by."""

    file: str
    labels: PartLabels
    counts: Counts
    divisor: int


def read_parts(
    files: Sequence[str],
    labels: Sequence[PartLabels],
    denominator: Denominator,
    read: Callable[[Path], Counts],
) -> list[ImportedPart]:
    """Read all files with `read`, a format's reader.

    Raises UserError if one is unfit, lacks the denominator, or is of another model or a copy of
    another.
    """
    parts: list[ImportedPart] = []
    for file, label in zip(files, labels, strict=True):
        counts = read(Path(file))
        divisor = counts.token_count if denominator == "tokens" else counts.question_count
        if divisor is None:
            raise UserError(
                f"{file}: {counts.names[denominator]}: found no such key, expected it for "
                f"--denominator {denominator}"
            )
        part = ImportedPart(file=file, labels=label, counts=counts, divisor=divisor)
        for other in parts:
            _refuse_unlike(part, other)
        parts.append(part)
    return parts


def _refuse_unlike(part: ImportedPart, other: ImportedPart) -> None:
    found, expected = (list(p.counts.active_count_LN.shape) for p in (part, other))
    if found != expected:
        raise UserError(
            f"{part.file}: {part.counts.names['active']}: found shape {found}, expected {expected} "
            f"as in {other.file}; give files of one model"
        )
    if part.counts.sha256 == other.counts.sha256:
        raise UserError(
            f"{part.file}: found the same content as in {other.file}, expected other counts; give "
            "each file once"
        )


def warn_above_one(parts: Sequence[ImportedPart]) -> None:
    """Say, on standard error, how far "probabilities" exceed one, if they do."""
    cells: dict[tuple[str, str], list[ImportedPart]] = {}
    for part in parts:
        cells.setdefault((part.labels.value, part.labels.language), []).append(part)
    largest, above, total = 0.0, 0, 0
    for cell in cells.values():
        active_LN = np.sum([p.counts.active_count_LN for p in cell], axis=0, dtype=np.int64)
        probability_LN = active_LN / sum(p.divisor for p in cell)
        largest = max(largest, float(probability_LN.max()))
        above += int((probability_LN > 1).sum())
        total += probability_LN.size
    if above:
        print(
            "warning: with --denominator questions a probability is active tokens a question, so "
            f"it can exceed 1: the largest is {largest:.4g}, and {above:,} of {total:,} (neuron, "
            "value) exceed 1",
            file=sys.stderr,
        )


def write_store(
    path: str,
    parts: Sequence[ImportedPart],
    *,
    kind: str,
    denominator: Denominator,
    model: str,
    take_over: bool = False,
) -> bool:
    """Write a complete store, or none; `kind` is the format that the counts were read from.

    Returns False if it is there already, made of the same files. What an import that was killed
    has left is removed.

    Raises UserError if the path cannot be written, something else is there, or another run is
    writing there; with `take_over`, one that is not known to be alive is put aside.
    """
    attrs = _describe_import(parts, kind, denominator, model)
    try:
        with hold(path, take_over=take_over):
            written = not _is_there(path, attrs)
            if written:
                _write_held(path, parts, attrs)
    except (FileExistsError, NotADirectoryError) as error:
        raise UserError(
            f"--store: cannot write {path} ({error.strerror}); choose another place"
        ) from error
    return written


def _is_there(path: str, attrs: Mapping[str, Any]) -> bool:
    """Whether this very import is there, complete; one that was broken off is removed."""
    if not holds_store(path):
        return False
    there = read_root_attrs(path)
    if there["state"] == STATE_COMPLETE:
        alike = (there.get(key) == attrs[key] for key in ("imported", "plan_digest", "model"))
        return all(alike)
    if "imported" in there:
        _discard(path)
    return False


def _write_held(path: str, parts: Sequence[ImportedPart], attrs: Mapping[str, Any]) -> None:
    num_layers, num_neurons = parts[0].counts.active_count_LN.shape
    create(
        path,
        num_layers=num_layers,
        num_neurons=num_neurons,
        values=in_order(p.labels.value for p in parts),
        languages=in_order(p.labels.language for p in parts),
        parts=[p.labels for p in parts],
        attrs=attrs,
    )
    try:
        _fill(path, parts)
        finalise(path)
    except BaseException:
        _discard(path)  # half a store would only be in the way
        raise


def _discard(path: str) -> None:
    """Remove a store, unless another run has taken it over."""
    if own_run(path) == current_run(path):
        # The root's zarr.json last: what a kill leaves is still an import that was broken off.
        storage = find_storage(path)
        for child in storage.children():
            if child != FILE:
                storage.remove(child)
        storage.remove("")


def _fill(path: str, parts: Sequence[ImportedPart]) -> None:
    recorder = Recorder(path)
    for number, part in enumerate(parts):
        recorder.write_part(
            number,
            PartCounts(
                statistics={"active_count": part.counts.active_count_LN},
                token_count=part.divisor,
                story_count=part.counts.question_count or 0,
            ),
        )


def _describe_import(
    parts: Sequence[ImportedPart], kind: str, denominator: Denominator, model: str
) -> dict[str, Any]:
    """Attributes of the store. No model has an empty fingerprint, so none is taken for this one."""
    marks = [
        # The counts planned of a part, of which an import has none, are part of these digests.
        [p.labels.value, p.labels.language, p.labels.stance, None, None, p.counts.sha256]
        for p in parts
    ]
    return {
        "model": model,
        "model_revision": None,
        "model_fingerprint": "",
        "model_architecture": UNKNOWN,
        "activation_function": UNKNOWN,
        "dtype": UNKNOWN,
        "corpus": f"imported: {len(parts)} {kind} count files",
        "corpus_digest": _digest(sorted(marks)),
        "plan_digest": _digest([denominator, *marks]),
        "plan_settings": {},
        "planned_token_count": sum(p.divisor for p in parts),
        "denominator": denominator,
        "statistics": ["active_count"],
        "versions": {name: version(name) for name in PACKAGES},
        "imported": {"format": kind, "files": {p.file: p.counts.sha256 for p in parts}},
    }


def _digest(marks: Sequence[Any]) -> str:
    return hashlib.sha256(json.dumps(marks).encode()).hexdigest()

"""Size of a run's store: bytes, and objects (files, or keys of a bucket), by group."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from vxdist.config import ForecastConfig
from vxdist.model.load import ModelShape
from vxstore.experts import LABELS, describe_experts
from vxstore.recorded import record_arrays, root_arrays
from vxstore.schema import EFFECT, EVALUATION, SCORES, ArraySpec, layered_chunks, record_chunks
from vxstore.statistics import DEFAULT

OF_CONDITION = ("condition", "kind", "condition_mask")
OF_DILEMMA = ("dilemma", "dilemma_value", "dilemma_language")
LABEL_BYTES = 24
"""A label (a value, a dilemma's id), as Zarr stores text; it matters little."""


@dataclass(frozen=True, kw_only=True)
class Group:
    """One group of the store."""

    name: str
    content: float
    """Bytes of its numbers in memory."""
    on_disk: float
    """Bytes that are expected once compressed."""
    objects: int


def measure_store(
    shape: ModelShape,
    *,
    values: int,
    languages: int,
    parts: int,
    conditions: int,
    masks: int,
    dilemmas: int,
    assume: ForecastConfig,
    statistics: Sequence[str] = DEFAULT,
) -> tuple[Group, ...]:
    """Every group of a store with one score and, if `conditions` is not 0, one evaluation."""
    sizes = {
        "part": parts,
        "layer": shape.num_layers,
        "neuron": shape.num_neurons,
        "routed_expert": shape.num_experts,
        "value": values,
        "language": languages,
        "order": 2,
        "mask": masks,
        **dict.fromkeys(OF_CONDITION, conditions),
        **dict.fromkeys(OF_DILEMMA, dilemmas),
    }
    experts = describe_experts(shape.num_experts, shape.num_neurons, {})
    attrs = {**experts, "statistics": list(statistics)}
    own = ("layer", "neuron", *(LABELS if experts else ()))
    routed = ("routed_expert",) if experts else ()
    of_text = ("value", "language")
    pooled = {**sizes, "language": languages + 1}
    groups = [
        _Group("root", root_arrays(attrs), (*own, *routed, *of_text), _layers, sizes),
        _Group(
            "record",
            record_arrays(attrs),
            ("part", *own, *routed, *of_text, "stance"),
            _part,
            {**sizes, "value": parts, "language": parts, "stance": parts},
        ),
        _Group("scores/NAME", SCORES, (*own, *of_text), _layers, pooled),
    ]
    if conditions:
        mask = ("mask", *of_text)
        labels = (*OF_CONDITION, *OF_DILEMMA, *own, "language", "order")
        groups += [
            _Group("evaluation/NAME", EVALUATION, labels, _condition, sizes),
            _Group("evaluation/NAME/effect", EFFECT, mask, _whole, {**sizes, "value": masks}),
        ]
    return tuple(group.measure(assume) for group in groups)


Chunk = Callable[[ArraySpec, tuple[int, ...]], tuple[int, ...]]
"""Shape of one object of an array."""


def _whole(_: ArraySpec, shape: tuple[int, ...]) -> tuple[int, ...]:
    return shape


def _layers(spec: ArraySpec, shape: tuple[int, ...]) -> tuple[int, ...]:
    if "layer" not in spec.dims:
        return shape
    return layered_chunks(spec.dims, shape, np.dtype(spec.dtype).itemsize)


def _part(spec: ArraySpec, shape: tuple[int, ...]) -> tuple[int, ...]:
    return record_chunks(spec, shape)[0]


def _condition(spec: ArraySpec, shape: tuple[int, ...]) -> tuple[int, ...]:
    return _layers(spec, shape) if "layer" in spec.dims else (1, *shape[1:])


@dataclass(frozen=True)
class _Group:
    name: str
    arrays: Mapping[str, ArraySpec]
    labels: Sequence[str]
    """Coordinates, which are one object each."""
    chunk: Chunk
    sizes: Mapping[str, int]

    def measure(self, assume: ForecastConfig) -> Group:
        """Every array, coordinates too, has one object more, its zarr.json, as has each group."""
        labels = float(sum(LABEL_BYTES * self.sizes.get(label, 1) for label in self.labels))
        content, on_disk = labels, labels
        objects = 2 * len(self.labels) + len(self.arrays)
        # `scores` and `evaluation`, above theirs, are groups too; the effect is below one.
        objects += 2 if self.name.endswith("/NAME") else 1
        for spec in self.arrays.values():
            shape = tuple(self.sizes[dim] for dim in spec.dims)
            size = float(np.dtype(spec.dtype).itemsize * math.prod(shape))
            is_mask = spec is EVALUATION["masked"]
            content += size
            on_disk += size * (assume.mask_compression if is_mask else assume.compression)
            steps = zip(shape, self.chunk(spec, shape), strict=True)
            objects += math.prod(-(-along // step) for along, step in steps)
        return Group(name=self.name, content=content, on_disk=on_disk, objects=objects)

"""Size of a run's store: bytes and objects (files, or keys in a bucket), by group."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from vxdist.asking.outcomes import traits_of
from vxdist.estimate.assumptions import Assumptions
from vxdist.model.load import ModelShape
from vxdist.reduce.languages import LANGUAGES
from vxdist.reduce.selectors import Selector
from vxdist.reduce.testing import TESTS
from vxstore.blocks import PLACE_ARRAYS, describe_blocks
from vxstore.effect_arrays import EFFECT
from vxstore.experts import LABELS, describe_experts
from vxstore.outcome import NEUTRAL
from vxstore.recorded import record_arrays, root_arrays
from vxstore.schema import EVALUATION, SCORES, ArraySpec, layered_chunks, record_chunks
from vxstore.statistics import DEFAULT

OF_CONDITION = ("condition", "kind", "condition_mask")
OF_DILEMMA = ("dilemma", "dilemma_value", "dilemma_language")
OF_TEXT = ("value", "language")
OF_PAIR = ("other_value", "language_pair")
TEXT_BYTES = 256
"""Bytes of an answer, of 64 tokens."""
LABEL_BYTES = 24
"""Bytes of a label (a value, a dilemma's id) as Zarr stores text; it hardly matters."""


@dataclass(frozen=True, kw_only=True)
class Group:
    """Size of one group of the store."""

    name: str
    content: float
    """Bytes of its arrays in memory."""
    on_disk: float
    """Expected bytes after compression."""
    objects: int
    """Number of files, or keys in a bucket."""


def measure_store(
    shape: ModelShape,
    *,
    values: int,
    languages: int,
    parts: int,
    conditions: int,
    masks: int,
    controls: int,
    dilemmas: int,
    selector: type[Selector],
    outcome: Any,
    assume: Assumptions,
    statistics: Sequence[str] = DEFAULT,
    of_part: Sequence[str] = (),
    tested: bool = False,
) -> tuple[Group, ...]:
    """Every group of a store with one score and, if `conditions` is not 0, one evaluation.

    `controls` are the control draws of each mask, `of_part` labels of parts beside value, language
    and stance. `outcome` is an outcome, or its class. `tested`: the score has tests, in every
    language.
    """
    sizes = {
        "part": parts,
        "layer": shape.num_layers,
        "neuron": shape.num_neurons,
        "routed_expert": shape.num_experts,
        "value": values,
        "language": languages,
        **{dim: len(labels) for dim, labels in outcome.labels.items()},
        "mask": masks,
        "draw": controls,
        "other_value": values,
        "language_pair": languages * (languages - 1) // 2,
        **dict.fromkeys(OF_CONDITION, conditions),
        **dict.fromkeys(OF_DILEMMA, dilemmas),
    }
    described, neuron_labels, places = _describe_neurons(shape)
    attrs = {**described, "statistics": list(statistics)}
    arrays = {**selector.arrays, **SCORES, **(TESTS if tested else {})}
    groups = _recorded_groups(attrs, neuron_labels, ("stance", *of_part), arrays, sizes)
    if tested and languages > 1:
        labels = (*neuron_labels, *OF_TEXT, *OF_PAIR)
        groups.append(_Group("scores/NAME/languages", LANGUAGES, labels, _layers, sizes))
    if conditions:
        groups += _evaluation_groups(neuron_labels, outcome, sizes)
    # An evaluation's effects have no neurons.
    with_places = (
        replace(group, arrays={**group.arrays, **places}) if "neuron" in group.labels else group
        for group in groups
    )
    return tuple(group.measure(assume) for group in with_places)


def _describe_neurons(
    shape: ModelShape,
) -> tuple[dict[str, Any], tuple[str, ...], Mapping[str, ArraySpec]]:
    """The root's attributes, the coordinates along neurons, and those along layers and neurons."""
    if shape.blocks is not None:
        return describe_blocks(shape.blocks.layers), ("layer", "neuron"), PLACE_ARRAYS
    described = describe_experts(shape.num_experts, shape.num_neurons, {})
    return described, ("layer", "neuron", *(LABELS if described else ())), {}


def _recorded_groups(
    attrs: Mapping[str, Any],
    neuron_labels: Sequence[str],
    of_part: Sequence[str],
    scores: Mapping[str, ArraySpec],
    sizes: Mapping[str, int],
) -> "list[_Group]":
    """Root, record and scores; `attrs` are those of the root that decide its arrays."""
    routed = ("routed_expert",) if sizes["routed_expert"] else ()
    by_part = {**sizes, **dict.fromkeys((*OF_TEXT, *of_part), sizes["part"])}
    pooled = {**sizes, "language": sizes["language"] + 1}
    labels = (*neuron_labels, *routed, *OF_TEXT)
    return [
        _Group("root", root_arrays(attrs), labels, _layers, sizes),
        _Group("record", record_arrays(attrs), ("part", *labels, *of_part), _part, by_part),
        _Group("scores/NAME", scores, (*neuron_labels, *OF_TEXT), _layers, pooled),
    ]


def _evaluation_groups(
    neuron_labels: Sequence[str], outcome: Any, sizes: Mapping[str, int]
) -> "list[_Group]":
    """An evaluation and its effects."""
    labels = (*OF_CONDITION, *OF_DILEMMA, *neuron_labels, "language", *outcome.labels)
    is_neutral = traits_of(outcome).split == NEUTRAL
    by_mask = {**sizes, "value": 1 if is_neutral else sizes["mask"]}
    measured = {**outcome.arrays, **EVALUATION}
    by_draw = ("draw",) if sizes["draw"] else ()
    effect = {name: spec for name, spec in EFFECT.items() if by_draw or "draw" not in spec.dims}
    whole = _Group("evaluation/NAME", measured, labels, _condition, sizes)
    if outcome.effect_of is None:
        return [whole]
    return [
        whole,
        _Group("evaluation/NAME/effect", effect, ("mask", *OF_TEXT, *by_draw), _whole, by_mask),
    ]


Chunk = Callable[[ArraySpec, tuple[int, ...]], tuple[int, ...]]
"""Gives the shape of one object of an array."""


def _whole(_: ArraySpec, shape: tuple[int, ...]) -> tuple[int, ...]:
    return shape


def _layers(spec: ArraySpec, shape: tuple[int, ...]) -> tuple[int, ...]:
    if "layer" not in spec.dims:
        return shape
    return layered_chunks(spec.dims, shape, np.dtype(spec.dtype).itemsize)


def _part(spec: ArraySpec, shape: tuple[int, ...]) -> tuple[int, ...]:
    return record_chunks(spec, shape)[0] if "part" in spec.dims else _layers(spec, shape)


def _condition(spec: ArraySpec, shape: tuple[int, ...]) -> tuple[int, ...]:
    return _layers(spec, shape) if "layer" in spec.dims else (1, *shape[1:])


@dataclass(frozen=True)
class _Group:
    name: str
    arrays: Mapping[str, ArraySpec]
    labels: Sequence[str]
    """Coordinates; each is one object."""
    chunk: Chunk
    sizes: Mapping[str, int]

    def measure(self, assume: Assumptions) -> Group:
        """Size of the group. Every array, coordinate and group also has a zarr.json."""
        labels = float(sum(LABEL_BYTES * self.sizes.get(label, 1) for label in self.labels))
        content, on_disk = labels, labels
        objects = 2 * len(self.labels) + len(self.arrays)
        # `scores` and `evaluation`, the parents of NAME, are groups too.
        objects += 2 if self.name.endswith("/NAME") else 1
        for spec in self.arrays.values():
            shape = tuple(self.sizes[dim] for dim in spec.dims)
            item = TEXT_BYTES if spec.dtype == "string" else np.dtype(spec.dtype).itemsize
            size = float(item * math.prod(shape))
            is_mask = spec is EVALUATION["masked"]
            content += size
            on_disk += size * (assume.mask_compression if is_mask else assume.compression)
            steps = zip(shape, self.chunk(spec, shape), strict=True)
            objects += math.prod(-(-along // step) for along, step in steps)
        return Group(name=self.name, content=content, on_disk=on_disk, objects=objects)

"""Formats 1 to 4 of the activation store: which arrays there are, and how they are laid out.

Dimension names: part (a set of whole stories of one value, language and stance), layer, neuron,
value, language, condition (what is ablated), dilemma, order (of the two options). These are
the names in memory; `vxstore.names` says which are others in a store. What a store with experts
has beside these is in `vxstore.experts`, and where layers differ in `vxstore.blocks`.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from vxstore.statistics import DEFAULT, STATISTICS, Statistic

FORMAT_NAME = "vxstore"
FORMAT_VERSION = 4
"""The highest format that is read."""
BLOCKS_VERSION = 4
"""Format of a new store whose layers differ, or have several blocks."""
ALIKE_VERSION = 3
"""Format of a new store whose layers have one block each, all alike."""
EXPERTS_VERSION = 2
"""Format whose stores all have experts; those of format 1 have none."""
POOLED = "pooled"
"""Label, along `language` in the scores, of the counts summed over all languages."""

SEAL = "seal"
"""Array, in a group that is sealed bit by bit, of what vouches for each entry."""
LAWS = ("valid_min", "valid_max", "quotient_of", "subset_of")
CHUNK_BYTES = 1 << 20
"""Aim for the size of an inner chunk."""


@dataclass(frozen=True, kw_only=True)
class ArraySpec:
    """One array: its dimensions, type and description, and LAWS that `vxstore check` verifies.

    `quotient_of`: a root count, divided by tokens; `subset_of`: true wherever this array is.
    """

    dims: tuple[str, ...]
    dtype: str
    units: str
    long_name: str
    valid_min: float | None = None
    valid_max: float | None = None
    quotient_of: str | None = None
    subset_of: str | None = None
    attributes: Mapping[str, Any] = field(default_factory=dict)
    """Attributes beside units and long_name."""


def seal_array(dim: str) -> ArraySpec:
    """The array of what vouches for each entry along a dimension."""
    return ArraySpec(
        dims=(dim,), dtype="string", units="1", long_name="SHA-256 of the entry's chunks, by array"
    )


def root_array(of: Statistic) -> ArraySpec:
    """The array of a statistic in `/`."""
    return ArraySpec(
        dims=("layer", "neuron", "value", "language"),
        dtype=of.total_dtype,
        units=of.units,
        long_name=of.long_name,
        attributes=of.attributes,
    )


def record_array(of: Statistic) -> ArraySpec:
    """The array of a statistic in `/record`."""
    return ArraySpec(
        dims=("part", "layer", "neuron"),
        dtype=of.record_dtype,
        units=of.units,
        long_name=of.record_long_name,
        attributes=of.attributes,
    )


ROOT: Mapping[str, ArraySpec] = {
    **{name: root_array(STATISTICS[name]) for name in DEFAULT},
    "token_count": ArraySpec(
        dims=("value", "language"),
        dtype="int64",
        units="tokens",
        long_name="tokens counted",
    ),
    "story_count": ArraySpec(
        dims=("value", "language"),
        dtype="int64",
        units="stories",
        long_name="stories read",
    ),
}

RECORD: Mapping[str, ArraySpec] = {
    **{name: record_array(STATISTICS[name]) for name in DEFAULT},
    "token_count": ArraySpec(
        dims=("part",), dtype="int64", units="tokens", long_name="tokens counted in the part"
    ),
    "story_count": ArraySpec(
        dims=("part",), dtype="int32", units="stories", long_name="stories read in the part"
    ),
    "sealed": ArraySpec(
        dims=("part",), dtype="bool", units="1", long_name="the part is recorded, whole"
    ),
    SEAL: seal_array("part"),
}

COORDINATES: Mapping[str, str] = {
    "layer": "decoder layer, from 0",
    "neuron": "hidden unit of the feed-forward block, from 0",
    "value": "human value",
    "language": "language of the text",
    "scored_language": "language of the texts, or all languages pooled",
    "compared_language": "language of the texts",
    "other_value": "human value in the second language of the pair",
    "language_pair": "two languages that are compared",
    "dilemma_value": "human value of the evaluation dilemma",
    "dilemma_language": "language of the evaluation dilemma",
    "part_value": "human value of the part's stories",
    "part_language": "language of the part's stories",
    "stance": "stance of the stories towards the value",
    "setting": "setting of the part's stories",
    "part": "part of the corpus, from 0",
    "block": "feed-forward block of its layer that the neuron is in, from 0",
    "expert": "expert that the neuron belongs to, from 0",
    "unit": "unit of its expert that the neuron is, from 0",
    "routed_expert": "expert that tokens are routed to, from 0",
    "condition": "what was ablated",
    "dilemma": "evaluation dilemma, or neutral passage",
    "order": "which option stood first",
    "option": "option of the dilemma",
    "mask": "value whose neurons are ablated",
    "evaluation": "evaluation with another dose",
    "kind": "intact, mask or control",
    "draw": "control draw, from 0",
}


def layers_per_chunk(num_layers: int, layer_bytes: int) -> int:
    """The most layers, dividing `num_layers`, whose bytes stay near `CHUNK_BYTES`."""
    most = max(1, CHUNK_BYTES // max(1, layer_bytes))
    return max(d for d in range(1, num_layers + 1) if num_layers % d == 0 and d <= most)


def record_chunks(spec: ArraySpec, shape: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
    """(shard, inner chunk) of a record array: one part is one shard; per-part scalars are plain.

    Shapes follow `spec.dims`; for a scalar per part the shard equals the chunk.
    """
    if len(shape) == 1:
        return (1,), (1,)
    _, num_layers, num_neurons = shape
    item = int(spec.dtype[-2:]) // 8
    return (1, *shape[1:]), (1, layers_per_chunk(num_layers, num_neurons * item), num_neurons)


def layered_chunks(dims: tuple[str, ...], shape: tuple[int, ...], itemsize: int) -> tuple[int, ...]:
    """Chunks that hold whole layers, as many as fit `CHUNK_BYTES`; `layer` must be in `dims`.

    Dimensions before `layer` get one entry per chunk.
    """
    at = dims.index("layer")
    layer_bytes = itemsize * math.prod(shape[at + 1 :])
    return (*(1,) * at, layers_per_chunk(shape[at], layer_bytes), *shape[at + 1 :])


SCORES: Mapping[str, ArraySpec] = {
    "selected": ArraySpec(
        dims=("layer", "neuron", "value", "language"),
        dtype="bool",
        units="1",
        long_name="the neuron is selected, and belongs to the value",
    ),
}
"""What every score holds, whatever its selector adds."""

EVALUATION: Mapping[str, ArraySpec] = {
    "masked": ArraySpec(
        dims=("condition", "layer", "neuron", "language"),
        dtype="bool",
        units="1",
        long_name="the neuron is ablated on dilemmas in the language",
    ),
    "sealed": ArraySpec(
        dims=("condition",), dtype="bool", units="1", long_name="the condition is measured, whole"
    ),
    SEAL: seal_array("condition"),
}
"""What every evaluation holds, whatever its outcome adds."""

_BY_VALUE = ("layer", "neuron", "value", "language")

ATTRIBUTION: Mapping[str, ArraySpec] = {
    "attribution": ArraySpec(
        dims=("dilemma", "layer", "neuron"),
        dtype="float32",
        units="nats",
        long_name="first-order change of the log-odds when the neuron is zeroed on all tokens",
    ),
    "attribution_sum": ArraySpec(
        dims=_BY_VALUE,
        dtype="float64",
        units="nats",
        long_name="sum, over the value's dilemmas, of their attributions to the neuron",
    ),
    "attribution_square_sum": ArraySpec(
        dims=_BY_VALUE,
        dtype="float64",
        units="nats2",
        long_name="sum, over the value's dilemmas, of their attributions squared",
        valid_min=0.0,
    ),
    "dilemma_count": ArraySpec(
        dims=("value", "language"), dtype="int64", units="dilemmas", long_name="dilemmas summed"
    ),
    "sealed": ArraySpec(
        dims=("dilemma",), dtype="bool", units="1", long_name="the dilemma is attributed, whole"
    ),
    SEAL: seal_array("dilemma"),
}
"""What an attribution holds beside what its outcome measured; `attribution` only if it is asked
for."""

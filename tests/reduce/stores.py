"""Stores of synthetic records, written as a run writes them."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.stats.generators import Synthetic
from vxstore.finalise import finalise
from vxstore.write import PartCounts, PartLabels, Recorder, create

STANCES = ("aligned", "violating")


def write_record(
    path: str,
    records: Mapping[str, Synthetic],
    *,
    layers: int = 1,
    clusters: bool = True,
    settings: Mapping[int, str] | None = None,
    order: np.random.Generator | None = None,
    attrs: Mapping[str, Any] | None = None,
    routed: Mapping[str, NDArray[np.int64]] | None = None,
) -> str:
    """A complete store of synthetic records by language, their neurons dealt to `layers` layers.

    Without `clusters` the parts do not say which tell the same dilemma. `settings` names a setting
    by the dilemma's number (see `Synthetic.dilemma_P`). `order` shuffles the parts. `routed` are
    the tokens routed to each expert by language, (P, layer, expert), for a mixture of experts.
    """
    parts = [(name, part) for name, of in records.items() for part in range(len(of.value_P))]
    if order is not None:
        parts = [parts[n] for n in order.permutation(len(parts))]
    values = next(iter(records.values())).values
    neurons = next(iter(records.values())).active_count_PN.shape[1]
    create(
        path,
        num_layers=layers,
        num_neurons=neurons // layers,
        values=[f"value{v}" for v in range(values)],
        languages=list(records),
        parts=[_labels(name, records[name], part, clusters, settings) for name, part in parts],
        attrs={"model": "synthetic", "statistics": ["active_count"], **(attrs or {})},
        num_experts=0 if routed is None else next(iter(routed.values())).shape[-1],
    )
    recorder = Recorder(path)
    for n, (name, part) in enumerate(parts):
        of = records[name]
        counts = PartCounts(
            statistics={"active_count": of.active_count_PN[part].reshape(layers, -1)},
            token_count=int(of.token_count_P[part]),
            story_count=1,
            routed_count_LE=None if routed is None else routed[name][part],
        )
        recorder.write_part(n, counts)
    finalise(path)
    return path


def only(record: Synthetic, kept_P: NDArray[np.bool_]) -> Synthetic:
    """The record without its other parts."""
    names = ("active_count_PN", "token_count_P", "value_P", "stance_P", "cluster_P")
    return replace(record, **{name: getattr(record, name)[kept_P] for name in names})


def _labels(
    language: str,
    of: Synthetic,
    part: int,
    clusters: bool,
    settings: Mapping[int, str] | None,
) -> PartLabels:
    return PartLabels(
        value=f"value{of.value_P[part]}",
        language=language,
        stance=STANCES[of.stance_P[part]],
        cluster=int(of.cluster_P[part]) if clusters else None,
        setting="" if settings is None else settings[int(of.dilemma_P[part])],
    )

"""What two languages share: neurons selected in both, and those bound to one of them.

Twins tell the same dilemma, so what is shared shows the topic that they share as well.

L: layer, N: neuron, P: cluster, V: value, G: language, R: pair of languages.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vxdist.reduce.clusters import Pair
from vxdist.reduce.testing import Testing, known
from vxdist.stats.contrasts import contrast, two_sided
from vxdist.stats.overlap import (
    Matching,
    bound,
    expected_matched,
    match_labels,
    overlap_by_layer,
    shared,
)
from vxdist.stats.tested import Scored, score
from vxstore.groups import write_group
from vxstore.schema import ArraySpec

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

_BY_PAIR = ("layer", "neuron", "value", "language_pair")


def _spec(dims: tuple[str, ...], dtype: str, long_name: str, units: str = "1") -> ArraySpec:
    return ArraySpec(dims=dims, dtype=dtype, units=units, long_name=long_name)


LANGUAGES: Mapping[str, ArraySpec] = {
    "overlap": _spec(
        ("value", "other_value", "language_pair"),
        "int64",
        "neurons selected for a value in the first language and for another in the second",
        "neurons",
    ),
    "p_value": _spec(
        ("language_pair",), "float64", "share of permutations of the values that share as much"
    ),
    "expected_other": _spec(
        ("language_pair",),
        "float64",
        "neurons that equal values would share, were they like different ones",
        "neurons",
    ),
    "expected_matched": _spec(
        ("language_pair",),
        "float64",
        "neurons that equal values would share by chance, drawn by layer and activity",
        "neurons",
    ),
    "shared_count": _spec(
        ("layer", "language_pair"), "int64", "neurons that equal values share", "neurons"
    ),
    "p_layer": _spec(
        ("layer", "language_pair"), "float64", "p of the layer's sharing, for all layers together"
    ),
    "interaction": _spec(
        _BY_PAIR, "float32", "t of the value's contrast in the first language less the second"
    ),
    "shared": _spec(_BY_PAIR, "bool", "the neuron differs for the value in both languages"),
    "bound": _spec(
        ("layer", "neuron", "value", "language"),
        "bool",
        "the neuron differs for the value in the language, and more than in any other",
    ),
}


def interaction(pair: Pair, first: Scored, second: Scored) -> NDArray[np.float32]:
    """t (N, V) of each value against the rest, of scores in the first less those in the second."""
    x_NP = first.plain_NP[:, pair.at[0]] - second.plain_NP[:, pair.at[1]]
    t_NV = contrast(score(x_NP, pair.design).z_NP, pair.design)
    t_NV[~(first.known_N & second.known_N)] = np.nan
    return t_NV.astype(np.float32)


@dataclass(frozen=True, kw_only=True)
class LanguageFindings:
    """One language's tests and selections, as arrays (layer, neuron, value).

    `read_p` gives the p of level 1 of a layer, (neuron, value), and `differs_LNV` says where a
    neuron has that.
    """

    read_p: Callable[[int], NDArray[np.float32]]
    differs_LNV: Bools
    selected_LNV: Bools
    listed_LNV: Bools


def write_languages(
    path: str,
    group: str,
    pairs: Sequence[Pair],
    interaction_LNVR: NDArray[np.float32],
    findings: Mapping[int, LanguageFindings],
    activity_LN: Floats,
    exists_LN: Bools,
    labels: Mapping[str, Any],
    testing: Testing,
) -> dict[str, Any]:
    """Compare the languages of each pair, write `group`, and return what was found by pair.

    `findings` are by position among the labels; `labels` has layer, neuron, value and language.
    """
    rng = np.random.default_rng(testing.seed)
    languages = [name for g, name in enumerate(labels["language"]) if g in findings]
    numbers = {g: n for n, g in enumerate(findings)}
    shape_LNV = interaction_LNVR.shape[:3]
    own = {"interaction": interaction_LNVR, "bound": np.zeros((*shape_LNV, len(findings)), bool)}
    data = {
        name: own[name] if name in own else _empty(spec, shape_LNV, len(pairs))
        for name, spec in LANGUAGES.items()
    }
    for g in {pair.first for pair in pairs} | {pair.second for pair in pairs}:
        data["bound"][..., numbers[g]] = True  # until a pair denies it
    about = {}
    for r, pair in enumerate(pairs):
        one, other = findings[pair.first], findings[pair.second]
        about[pair.label] = _enter_selected(data, r, one, other, (activity_LN, exists_LN), rng)
        t_LNV, p_LNV = interaction_LNVR[..., r], np.empty(shape_LNV, dtype=np.float32)
        for layer, p_NV in enumerate(p_LNV):
            p_NV[:] = np.maximum(one.read_p(layer), other.read_p(layer))
        data["shared"][..., r] = shared(p_LNV, testing.fdr)
        for t_NV, p_NV in zip(t_LNV, p_LNV, strict=True):
            p_NV[:] = two_sided(t_NV.astype(np.float64), pair.design.degrees)
        of_first, of_second = bound(one.differs_LNV, other.differs_LNV, t_LNV, p_LNV, testing.fdr)
        data["bound"][..., numbers[pair.first]] &= of_first
        data["bound"][..., numbers[pair.second]] &= of_second
        counts = (int(of_first.sum()), int(of_second.sum()))
        about[pair.label]["shared"] = int(data["shared"][..., r].sum())
        about[pair.label]["bound"] = dict(zip(pair.names, counts, strict=True))
    coordinates = {
        **{dim: labels[dim] for dim in ("layer", "neuron", "value")},
        "language": languages,
        "other_value": labels["value"],
        "language_pair": [pair.label for pair in pairs],
    }
    write_group(path, group, LANGUAGES, data, coordinates, {})
    return about


def _empty(spec: ArraySpec, shape_LNV: tuple[int, ...], pairs: int) -> NDArray[Any]:
    sizes = dict(zip(("layer", "neuron", "value"), shape_LNV, strict=True))
    sizes |= {"other_value": shape_LNV[2], "language_pair": pairs}
    return np.zeros([sizes[dim] for dim in spec.dims], dtype=spec.dtype)


def _match(one_LNV: Bools, other_LNV: Bools, rng: np.random.Generator) -> Matching:
    return match_labels(overlap_by_layer(one_LNV, other_LNV), rng)


def _enter_selected(
    data: dict[str, NDArray[Any]],
    r: int,
    one: LanguageFindings,
    other: LanguageFindings,
    activity: tuple[Floats, Bools],
    rng: np.random.Generator,
) -> dict[str, Any]:
    """Enter how the selections of pair `r` match; returns that in numbers, and of VAPE's lists.

    `activity` is that of neurons, and which of them exist; both (layer, neuron).
    """
    match = _match(one.selected_LNV, other.selected_LNV, rng)
    matched_L = expected_matched(one.selected_LNV, other.selected_LNV, *activity)
    data["overlap"][..., r] = match.overlap_VV
    data["p_value"][r], data["expected_other"][r] = match.p_value, match.expected_other
    data["shared_count"][:, r], data["p_layer"][:, r] = match.shared_L, match.p_layer_L
    data["expected_matched"][r] = matched_L.sum()
    return {
        "selected": _sizes(match, matched_L),
        "vape": _sizes(_match(one.listed_LNV, other.listed_LNV, rng)),
    }


def _sizes(match: Matching, matched_L: Floats | None = None) -> dict[str, Any]:
    """How many neurons equal values share, beside what they would if they were like others."""
    return {
        "shared": int(match.shared_L.sum()),
        "expected_other": known(match.expected_other),
        "p_value": known(match.p_value),
        **({} if matched_L is None else {"expected_matched": float(matched_L.sum())}),
    }

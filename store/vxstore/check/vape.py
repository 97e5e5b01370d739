"""Selecting the neurons of a VAPE score again, from its probabilities and thresholds.

N: neuron, V: value, G: language.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from vxstore.defaults import DEFAULT_SELECTOR

CUT, FILTER, ACTIVATION = "entropy_cut", "filter_threshold", "activation_threshold"
NEEDED = ("activation_probability", "entropy", "passed_filter", "selected")
TOLERANCE = 1e-9


def broken_vape(scores: xr.Dataset, block: xr.Dataset, where: str) -> Iterator[tuple[str, str]]:
    """Arrays of one loaded layer of a score that do not follow from the others, and how; nothing
    unless the score says that VAPE made it, and holds its thresholds."""
    thresholds = scores.attrs.get("thresholds")
    if scores.attrs.get("selector") != DEFAULT_SELECTOR or not isinstance(thresholds, Mapping):
        return
    if any(name not in block for name in NEEDED):
        return
    least = scores.attrs.get("settings", {}).get("min_active_tokens", 1)
    broken: set[str] = set()
    for g, language in enumerate(str(label) for label in block["language"].values):
        of = thresholds.get(language)
        if isinstance(of, Mapping) and {CUT, FILTER, ACTIVATION} <= set(of):
            broken |= set(_broken(block.isel(language=g), of, all_count=least <= 1))
    yield from (
        (name, f"{where}not what follows from the probabilities") for name in sorted(broken)
    )


def _broken(block: xr.Dataset, of: Mapping[str, Any], *, all_count: bool) -> Iterator[str]:
    """In one language. Without `all_count` neurons that are active on few tokens are dead too."""
    p_NV = block["activation_probability"].transpose("neuron", "value").values
    entropy_N, passed_N = (block[name].values for name in ("entropy", "passed_filter"))
    expected_N, finite_N = _entropy(p_NV), np.isfinite(entropy_N)
    differs = not np.allclose(
        entropy_N[finite_N], expected_N[finite_N], rtol=TOLERANCE, atol=TOLERANCE
    )
    if differs or (all_count and (np.isfinite(expected_N) & ~finite_N).any()):
        yield "entropy"
    cut, least, active = (
        np.inf if of[name] is None else float(of[name]) for name in (CUT, FILTER, ACTIVATION)
    )
    if (passed_N != (finite_N & (p_NV.max(axis=1) > least))).any():
        yield "passed_filter"
    selected_NV = block["selected"].transpose("neuron", "value").values
    belongs_NV = p_NV > active
    first_N = passed_N & (entropy_N < cut) & (of[CUT] is not None)
    last_N = passed_N & (entropy_N <= cut) & (of[CUT] is not None)  # of ties some are selected
    if (selected_NV & ~(last_N[:, None] & belongs_NV)).any() or (
        first_N[:, None] & belongs_NV & ~selected_NV
    ).any():
        yield "selected"


def _entropy(p_NV: NDArray[np.float64]) -> NDArray[np.float64]:
    """Nats, over values, of the normalised probabilities; NaN where all are zero or one is NaN."""
    total_N1 = p_NV.sum(axis=1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        share_NV = p_NV / total_N1
        term_NV = np.where(share_NV > 0, share_NV * np.log(share_NV), 0)
    return np.where(total_N1[:, 0] > 0, -term_NV.sum(axis=1), np.nan)

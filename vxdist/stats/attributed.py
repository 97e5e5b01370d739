"""A null from gradient attribution: what thousands of matched sets would do, to first order.

Attribution predicts the shift of an ordinary set of neurons, and not that of the strongest ones. So
it stands in for control draws only where it predicts those that were run (a warrant), and never
for the mask, whose shift is always the measured one.

R: matched set, K: control draw, L: layer, N: neuron, V: value.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vxdist.stats.matched_sets import draw_sets
from vxdist.stats.matching import LanguageNeurons
from vxstore.warrant import why_not

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]
SETS = 10_000


@dataclass(frozen=True, kw_only=True)
class Fit:
    """Measured shifts of draws as alpha + beta x predicted, in the units of the outcome.

    `residual_K` are scaled up to be unbiased, as two numbers were fitted. NaN where nothing can be
    fitted: fewer than three draws, or draws that are predicted alike.
    """

    alpha: float
    beta: float
    r: float
    residual_K: Floats

    @property
    def warranted(self) -> bool:
        """Whether the prediction is good enough to stand in for draws."""
        return not why_not(self.r, self.beta, self.residual_K.size)

    def variance(self, predicted_R: Floats) -> float:
        """Of the measured shifts of sets: beta^2 that of the predicted ones, and the residuals'."""
        residual = float((self.residual_K**2).mean())
        return float(self.beta**2 * predicted_R.var() + residual)


def fit(measured_K: Floats, predicted_K: Floats) -> Fit:
    """Least squares of the measured shifts of control draws on the predicted ones."""
    draws = measured_K.size
    spread = float(((predicted_K - predicted_K.mean()) ** 2).sum()) if draws else 0.0
    total = float(((measured_K - measured_K.mean()) ** 2).sum()) if draws else 0.0
    if draws < 3 or not (spread > 0 and total > 0):
        nan = float("nan")
        return Fit(alpha=nan, beta=nan, r=nan, residual_K=np.full(draws, nan))
    together = float(((predicted_K - predicted_K.mean()) * measured_K).sum())
    beta = together / spread
    alpha = float(measured_K.mean() - beta * predicted_K.mean())
    residual_K = (measured_K - alpha - beta * predicted_K) * np.sqrt(draws / (draws - 2))
    r = together / np.sqrt(spread * total)
    return Fit(alpha=alpha, beta=beta, r=r, residual_K=residual_K)


def attributed_p(shift: float, of: Fit, predicted_R: Floats, rng: np.random.Generator) -> float:
    """Two-sided p of a measured shift among matched sets; NaN without a warrant.

    (1 + #{sets at least as far from their mean}) / (R + 1), where the shift of a set is alpha +
    beta x predicted, and a residual of the draws.
    """
    if not of.warranted or np.isnan(shift):
        return float("nan")
    residual_R = rng.choice(of.residual_K, size=predicted_R.size)
    null_R = of.alpha + of.beta * predicted_R + residual_R
    mean = float(null_R.mean())
    as_far = int((np.abs(null_R - mean) >= abs(shift - mean)).sum())
    return (1 + as_far) / (predicted_R.size + 1)


def predict(shift_LNV: Sequence[Floats], mask_LN: Bools) -> Floats:
    """First-order shift of a set, (value,): the sum of its neurons'."""
    found = [of_NV[mask_N].sum(axis=0) for of_NV, mask_N in zip(shift_LNV, mask_LN, strict=True)]
    return np.asarray(np.sum(found, axis=0))


def predict_sets(
    shift_LNV: Sequence[Floats],
    neurons: LanguageNeurons,
    target_LN: Bools,
    *,
    pool: int,
    rng: np.random.Generator,
    sets: int = SETS,
) -> Floats:
    """First-order shifts of matched sets, (set, value)."""
    total_RV = np.zeros((sets, shift_LNV[0].shape[-1]))
    for layer, drawn_RM in draw_sets(neurons, target_LN, pool=pool, sets=sets, rng=rng):
        of_NV = shift_LNV[layer]
        for drawn_R in drawn_RM.T:
            total_RV += of_NV[drawn_R]
    return total_RV

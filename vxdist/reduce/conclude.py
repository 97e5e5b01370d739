"""What the tests found, said in the attributes of a score.

V: value, K: one (neuron, value).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from vxdist.reduce.language_tests import LanguageTests
from vxdist.reduce.selectors import Selection
from vxdist.reduce.testing import CLAIMS, known
from vxdist.reduce.tests import Arrays, read_language
from vxdist.reduce.vape_null import Listing
from vxdist.stats.contrasts import least_p
from vxdist.stats.stability import assignments, mean_jaccard, shares
from vxstore.schema import POOLED

NO_TOPIC = "no two settings have enough recorded dilemmas"


def describe_tests(
    of: LanguageTests, arrays: Arrays, g: int, values: Sequence[str]
) -> dict[str, Any]:
    """What was compared in a language, and how much was found at each level."""
    compared, design = of.compared, of.design
    found, made = {}, {}
    for level, _, name in CLAIMS:
        if level in of.levels:
            q_LNV = read_language(arrays[name], g)
            claimed_LNV = q_LNV <= of.settings.fdr
            found[str(level)] = {
                "assignments": int(claimed_LNV.sum()),
                "neurons": int(claimed_LNV.any(axis=-1).sum()),
            }
            made[str(level)] = int(np.count_nonzero(~np.isnan(q_LNV)))
    length_f, length_p = compared.length_test()
    stance_sd = {}
    if compared.stance is not None:
        t_LNV = read_language(arrays["t_stance"], g)
        stance_sd = robust_sd(t_LNV, compared.stance.degrees, values)
    return {
        "untested": None,
        "clusters": dict(zip(values, design.counts_V.tolist(), strict=True)),
        "degrees": design.degrees,
        "least_p": least_p(design),
        "absent": dict(compared.absent),
        "values_untested": {
            values[v]: "reduce.adjust leaves nothing of it" for v in design.explained
        },
        "tested": made,
        "found": found,
        "z_sd": robust_sd(read_language(arrays["t_value"], g), design.degrees, values),
        "z_sd_stance": stance_sd,
        "length": {"F": known(length_f), "p": known(length_p)},
    }


def describe_null(of: LanguageTests, about: Mapping[str, Any]) -> dict[str, Any]:
    """What the same rules find under shuffled labels; `about` is of `describe_tests`."""
    levels = {
        str(level): tally.summary(about["tested"][str(level)], of.settings.fdr)
        for level, tally in of.tallies.items()
    }
    first, topic = levels["1"], of.topic()
    is_pooled = of.compared.language == POOLED  # settings are compared in each language
    histograms = {"t": of.t_histogram()}
    if of.vape is not None:
        histograms["entropy"] = of.vape.histogram()
    return {
        "shuffles": of.settings.shuffles,
        "any_rate": first["any_rate"],
        "any_rate_se": first["any_rate_se"],
        "mean_selected": first["mean_selected"],
        "levels": levels,
        "topic": topic,
        **({} if topic or is_pooled else {"topic_absent": NO_TOPIC}),
        "z_sd": about["z_sd"],
        "length_F": about["length"]["F"],
        "length_p": about["length"]["p"],
        "histograms": histograms,
    }


def describe_list(
    of: LanguageTests, listing: Listing | None, arrays: Arrays, g: int
) -> dict[str, Any] | None:
    """What the null says of VAPE's list; None if it is empty."""
    if of.vape is None or listing is None:
        return None
    q = read_language(arrays["q_value"], g).reshape(-1)[listing.assignment_K]
    supported = int((q <= of.settings.fdr).sum())
    return {**of.vape.summary(), "assignments_supported": supported}


def find_stability(
    of: LanguageTests, selection: Selection, about: Mapping[str, Any] | None
) -> tuple[Mapping[int, float] | None, dict[str, Any] | None]:
    """Share of half-samples by assignment (neuron x V + value); and how alike halves are, with the
    real labels and with shuffled ones. None where the selector has no rule that is known. `about`
    is of `describe_list`."""
    if of.lists_vape and of.vape is not None and about is not None:
        observed, by_chance = about["split_jaccard_assignments"], about["split_jaccard_shuffled"]
        found = of.vape.stability() if of.num_halves else None
        return found, {"observed": observed, "shuffled": by_chance}
    if of.rule is None or not of.num_halves:
        return None, None
    size_V = selection.selected_LNV.sum(axis=(0, 1))
    chosen = assignments(of.leaders.first(size_V))
    real, shuffled = chosen[: of.num_halves], chosen[of.num_halves :]
    return shares(real), {
        "observed": known(mean_jaccard(real)),
        "shuffled": known(mean_jaccard(shuffled)),
    }


def spread_out(found: Mapping[int, float], shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Shares by code as an array (layer, neuron, value); 0 for all others."""
    whole = np.zeros(int(np.prod(shape)), dtype=np.float32)
    whole[np.fromiter(found, dtype=np.int64)] = list(found.values())
    return whole.reshape(shape)


def robust_sd(
    t_LNV: NDArray[np.float32], degrees: int, values: Sequence[str]
) -> dict[str, float | None]:
    """Spread, over neurons, of each value's t as z: interquartile range / 1.349.

    1 if only sampling varies; above, values differ as topics do.
    """
    found = {}
    for v, value in enumerate(values):
        t_K = t_LNV[..., v][~np.isnan(t_LNV[..., v])]
        quartiles = np.quantile(t_K, [0.25, 0.75]) if t_K.size else [np.nan, np.nan]
        low, high = stats.norm.isf(stats.t.sf(quartiles, degrees))
        found[value] = known(float(high - low) / 1.349)
    return found

"""What VAPE writes is what it finds in the counts, bit for bit, whether it is tested or not."""

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import vxstore
from tests.reduce.stores import write_record
from tests.stats.generators import Synthetic, twins
from vxdist.reduce.score import write_score
from vxdist.reduce.selectors.vape import Vape, VapeSelection, VapeSettings, select
from vxdist.reduce.testing import Testing as Settings

SETTINGS = VapeSettings(filter_quantile=0.9, top_fraction=0.1, activation_quantile=0.85)
LAYERS, VALUES = 3, 3


@pytest.fixture(scope="module")
def records() -> dict[str, Synthetic]:
    """Two languages; some neurons are dead in one of them, or in both."""
    rng = np.random.default_rng(95)
    found = {
        name: twins(rng, neurons=60 * LAYERS, values=VALUES, clusters=6, planted=20, delta=2.0)
        for name in ("en", "zh")
    }
    found["en"].active_count_PN[:, :10] = 0
    found["zh"].active_count_PN[:, 5:15] = 0
    return found


def by_hand(records: list[Synthetic]) -> tuple[np.ndarray, VapeSelection]:
    """Probabilities (layer, neuron, value) of the languages together, and VAPE's selection."""
    active_NV = np.zeros((60 * LAYERS, VALUES))
    token_V = np.zeros(VALUES)
    for of in records:
        for value in range(VALUES):
            active_NV[:, value] += of.active_count_PN[of.value_P == value].sum(axis=0)
            token_V[value] += of.token_count_P[of.value_P == value].sum()
    probability_LNV = (active_NV / token_V).reshape(LAYERS, -1, VALUES)
    return probability_LNV, select(
        probability_LNV,
        active_NV.any(axis=1).reshape(LAYERS, -1),
        filter_quantile=SETTINGS.filter_quantile,
        top_fraction=SETTINGS.top_fraction,
        activation_quantile=SETTINGS.activation_quantile,
    )


def scored(path: Path, records: dict[str, Synthetic], *, clusters: bool) -> xr.Dataset:
    """Score with VAPE; tested if it is known which parts tell the same dilemma."""
    store = write_record(str(path / "s.zarr"), records, layers=LAYERS, clusters=clusters)
    testing = Settings(shuffles=20, halves=2)
    write_score(store, "vape", Vape(SETTINGS), testing=testing, threads=1)
    return vxstore.open(store).scores("vape").load()


@pytest.mark.parametrize("clusters", [True, False], ids=["tested", "untested"])
def test_bit_for_bit(records: dict[str, Synthetic], tmp_path: Path, clusters: bool) -> None:
    score = scored(tmp_path, records, clusters=clusters)
    assert ("p_value" in score) is clusters
    together = {"en": ["en"], "zh": ["zh"], "pooled": ["en", "zh"]}
    for language, names in together.items():
        probability_LNV, expected = by_hand([records[name] for name in names])
        found = score.sel(language=language).transpose("layer", "neuron", "value")
        for name, array in {
            "activation_probability": probability_LNV,
            "entropy": expected.entropy_LN,
            "passed_filter": expected.passed_filter_LN,
            "selected": expected.selected_LNV,
        }.items():
            assert found[name].values.tobytes() == np.ascontiguousarray(array).tobytes(), name
        thresholds = score.attrs["thresholds"][language]
        assert thresholds["entropy_cut"] == expected.entropy_cut
        assert thresholds["filter_threshold"] == expected.filter_threshold
        assert thresholds["activation_threshold"] == expected.activation_threshold
        assert thresholds["selected_count"] == expected.selected_count > 0
        assert thresholds["dead_count"] == expected.dead_count > 0

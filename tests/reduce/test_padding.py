"""Neurons that do not exist change nothing, and each block has its own denominator.

The same neurons in two stores. In one, layers differ: layer 0 has a dense block and two experts,
layer 1 a dense block alone, and padding behind it. In the other they are four experts of one layer,
to two of which all tokens are routed. Padding taken for neurons would change the second's numbers.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import xarray as xr

import vxstore
from tests.stats.generators import Synthetic, twins
from vxdist.hooks.recorded import read_activity
from vxdist.reduce import clusters
from vxdist.reduce.score import write_score
from vxdist.reduce.selectors.claimed import Contrast, ContrastSettings
from vxdist.reduce.selectors.vape import Vape, VapeSettings
from vxdist.reduce.testing import TESTS
from vxdist.reduce.testing import Testing as Settings
from vxdist.stats import tested
from vxdist.stats.overlap import expected_matched
from vxstore.blocks import Block
from vxstore.check.store import check
from vxstore.finalise import finalise
from vxstore.write import PartCounts, PartLabels, Recorder, create

UNITS = 40
LAYERS = ((Block(units=UNITS), Block(units=UNITS, experts=2)), (Block(units=UNITS),))
TESTING = Settings(shuffles=20, halves=2)
STANCES = ("aligned", "violating")


@pytest.fixture(scope="module", autouse=True)
def few_values_are_enough() -> Iterator[None]:
    """Have three values stand out among each other, so that level 2 is looked at too."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (clusters, tested):
            patch.setattr(module, "LEAST_LABELS", 3)
        yield


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """A store with padding, and one with the same neurons and none."""
    rng = np.random.default_rng(31)
    records = {
        name: twins(
            rng,
            neurons=4 * UNITS,
            values=3,
            clusters=7,
            alone=0.2,
            tokens=60,
            planted=60,
            delta=3.0,
        )
        for name in ("en", "zh")
    }
    folder = tmp_path_factory.mktemp("stores")
    padded, plain = str(folder / "padded.zarr"), str(folder / "plain.zarr")
    labels = [label for name, of in records.items() for label in _labels(name, of)]
    common: dict[str, Any] = {
        "values": ["value0", "value1", "value2"], "languages": list(records), "parts": labels,
        "attrs": {"model": "synthetic", "statistics": ["active_count"]},
    }  # fmt: skip
    create(padded, num_layers=2, num_neurons=3 * UNITS, blocks=LAYERS, **common)
    create(plain, num_layers=1, num_neurons=4 * UNITS, num_experts=4, **common)
    part = 0
    for of in records.values():
        for any_N, tokens in zip(of.active_count_PN, of.token_count_P.tolist(), strict=True):
            routed = [tokens, int(tokens * 0.7), tokens - int(tokens * 0.7), tokens]
            active_N = np.minimum(any_N, np.repeat(routed, UNITS))
            _write(plain, part, active_N[None], [routed], tokens)
            second_N = np.concatenate([active_N[3 * UNITS :], np.zeros(2 * UNITS, dtype=int)])
            active_LN = np.stack([active_N[: 3 * UNITS], second_N])
            _write(padded, part, active_LN, [routed[1:3], [0, 0]], tokens)
            part += 1
    for path in (padded, plain):
        finalise(path)
    return padded, plain


def _labels(language: str, of: Synthetic) -> list[PartLabels]:
    return [
        PartLabels(
            value=f"value{of.value_P[p]}",
            language=language,
            stance=STANCES[of.stance_P[p]],
            cluster=int(of.cluster_P[p]),
        )
        for p in range(len(of.value_P))
    ]


def _write(path: str, part: int, active_LN: Any, routed: list[list[int]], tokens: int) -> None:
    counts = PartCounts(
        statistics={"active_count": active_LN},
        token_count=tokens,
        story_count=1,
        routed_count_LE=np.array(routed),
    )
    Recorder(path).write_part(part, counts)


def scored(path: str, selector: Any, kind: str) -> xr.Dataset:
    write_score(path, kind, selector, kind=kind, testing=TESTING, threads=1)
    return vxstore.open(path).scores(kind).load()


def existing(array: xr.DataArray) -> np.ndarray[Any, Any]:
    """The numbers of the neurons there are, in the order of layer and neuron."""
    others = [dim for dim in array.dims if dim not in ("layer", "neuron")]
    values = array.transpose("layer", "neuron", *others).values
    if values.shape[0] == 1:
        return np.asarray(values[0])
    return np.concatenate([values[0], values[1, :UNITS]])


@pytest.mark.parametrize("kind", ["vape", "contrast"])
def test_a_score_is_that_of_the_neurons_there_are(stores: tuple[str, str], kind: str) -> None:
    made = {
        "vape": lambda: Vape(
            VapeSettings(filter_quantile=0.5, top_fraction=0.2, activation_quantile=0.5)
        ),
        "contrast": lambda: Contrast(ContrastSettings()),
    }
    padded, plain = (scored(path, made[kind](), kind) for path in stores)
    assert plain.selected.sum() > 0
    for name in plain.data_vars:
        if "layer" in plain[name].dims:
            found, expected = existing(padded[name]), existing(plain[name])
            np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6, err_msg=str(name))
    assert set(TESTS) <= set(plain.data_vars)
    assert padded.attrs["thresholds"] == plain.attrs["thresholds"]
    for language in ("en", "zh", "pooled"):
        for about in ("tests", "null"):
            assert padded.attrs[about][language] == plain.attrs[about][language]
    assert not padded.selected.values[1, UNITS:].any()
    assert check(stores[0]).findings == []


def test_what_does_not_exist_is_no_control(stores: tuple[str, str]) -> None:
    padded, plain = (read_activity(vxstore.open(path), "en") for path in stores)
    assert np.isnan(padded[1, UNITS:]).all()
    np.testing.assert_array_equal(np.concatenate([padded[0], padded[1, :UNITS]]), plain[0])


def test_expected_matches_are_among_neurons_that_exist() -> None:
    rng = np.random.default_rng(5)
    g, h = rng.random((2, 1, 60, 3)) < 0.3
    activity_LN = rng.random((1, 60))
    bare = expected_matched(g, h, activity_LN)
    pad = [(0, 0), (0, 25)]
    exists_LN = np.pad(np.ones((1, 60), dtype=bool), pad)
    padded = [np.pad(of, [*pad, (0, 0)]) for of in (g, h)]
    found = expected_matched(*padded, np.pad(activity_LN, pad), exists_LN)
    assert found.tolist() == bare.tolist()
    assert expected_matched(*padded, np.pad(activity_LN, pad)).tolist() != bare.tolist()

"""VAPE against its definition, against LAPE's way of doing it, and against published results."""

import math
import os
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from vxdist.reduce.selectors.vape import VapeSelection, entropy, quantile, select

Row = tuple[float, ...]
RELEASE = Path(
    os.environ.get("VXDIST_REFERENCE")
    or Path(__file__).parents[3] / ".." / "shared" / "data" / "c-voice-release"
)
CLOSE = 1e-9


def slow_quantile(values: Sequence[float], q: float) -> float:
    """The `round(n*q)`-th smallest, from 1."""
    k = round(len(values) * q)
    return sorted(values)[min(max(k, 1), len(values)) - 1]


def slow_entropy(row: Row) -> float | None:
    """-sum q ln q with q = p / sum p, in nats; None of a neuron that is never active."""
    total = math.fsum(row)
    if total == 0:
        return None
    return -math.fsum(p / total * math.log(p / total) for p in row if p > 0)


def slow_select(
    rows: Sequence[Row], alive: Sequence[bool], filter_q: float, top: float, activation_q: float
) -> tuple[list[int], dict[int, set[int]]]:
    """Chosen neurons in order, and the values of each, by the definition."""
    every = [p for row in rows for p in row]
    filter_threshold = slow_quantile(every, filter_q)
    activation_threshold = slow_quantile(every, activation_q)
    candidates = []
    for neuron, row in enumerate(rows):
        bits = slow_entropy(row)
        if alive[neuron] and bits is not None and max(row) > filter_threshold:
            candidates.append((bits, neuron))
    candidates.sort(key=lambda c: (round(c[0], 9), c[1]))
    chosen = [neuron for _, neuron in candidates[: round(len(rows) * top)]]
    values = {
        neuron: {v for v, p in enumerate(rows[neuron]) if p > activation_threshold}
        for neuron in chosen
    }
    return chosen, values


@st.composite
def tables(draw: st.DrawFn) -> tuple[list[Row], list[bool], int]:
    """Probabilities of neurons, some of them alike, some dead; which live; and how many layers.

    No two entropies lie so close, without being equal, that rounding decides.
    """
    num_values = draw(st.integers(1, 5))
    probability = st.one_of(st.just(0.0), st.floats(1e-6, 1.0))
    kinds = draw(
        st.lists(st.tuples(*(probability,) * num_values), min_size=1, max_size=8, unique=True)
    )
    bits = sorted(e for e in map(slow_entropy, kinds) if e is not None)
    assume(all(b - a > CLOSE for a, b in pairwise(bits)))
    layers, neurons = draw(st.integers(1, 3)), draw(st.integers(1, 12))
    size = layers * neurons
    rows = draw(st.lists(st.sampled_from(kinds), min_size=size, max_size=size))
    spared = draw(st.lists(st.booleans(), min_size=size, max_size=size))
    alive = [any(row) and keep for row, keep in zip(rows, spared, strict=True)]
    return rows, alive, layers


def run(rows: Sequence[Row], alive: Sequence[bool], layers: int, **chosen: float) -> VapeSelection:
    """`select` on a table of neurons cut into layers."""
    table = np.array(rows, dtype=np.float64)
    return select(
        table.reshape(layers, -1, table.shape[-1]),
        np.array(alive).reshape(layers, -1),
        filter_quantile=chosen.get("filter_q", 0.5),
        top_fraction=chosen.get("top", 0.3),
        activation_quantile=chosen.get("activation_q", 0.5),
    )


SHARES = st.sampled_from([0.05, 0.25, 0.5, 0.75, 0.95])


class TestDefinition:
    @settings(max_examples=200, deadline=None)
    @given(tables(), SHARES, SHARES, SHARES)
    def test_agrees_with_plain_python(
        self,
        table: tuple[list[Row], list[bool], int],
        filter_q: float,
        top: float,
        activation_q: float,
    ) -> None:
        rows, alive, layers = table
        found = run(rows, alive, layers, filter_q=filter_q, top=top, activation_q=activation_q)
        chosen, values = slow_select(rows, alive, filter_q, top, activation_q)

        every = [p for row in rows for p in row]
        assert found.filter_threshold == slow_quantile(every, filter_q)
        assert found.activation_threshold == slow_quantile(every, activation_q)
        selected = found.selected_LNV.reshape(len(rows), -1)
        told = {n: set(np.flatnonzero(selected[n]).tolist()) for n in range(len(rows))}
        assert told == {n: values.get(n, set()) for n in range(len(rows))}
        assert found.selected_count == sum(bool(v) for v in values.values())
        passed = {n for n, row in enumerate(rows) if alive[n] and max(row) > found.filter_threshold}
        assert set(np.flatnonzero(found.passed_filter_LN).tolist()) == passed
        assert found.dead_count == alive.count(False)
        for neuron, bits in enumerate(found.entropy_LN.reshape(-1)):
            expected = slow_entropy(rows[neuron]) if alive[neuron] else None
            assert math.isnan(bits) if expected is None else abs(bits - expected) < 1e-12
        if chosen:
            last = slow_entropy(rows[chosen[-1]])
            assert last is not None
            assert abs(found.entropy_cut - last) < 1e-12
        else:
            assert math.isnan(found.entropy_cut)

    @settings(max_examples=100, deadline=None)
    @given(tables(), SHARES)
    def test_the_dead_are_never_selected(
        self, table: tuple[list[Row], list[bool], int], top: float
    ) -> None:
        """Not even where everything passes: an entropy of 0 would be the best of all."""
        rows, alive, layers = table
        found = run(rows, alive, layers, filter_q=0.01, activation_q=0.01, top=top)
        dead_LN = ~np.array(alive).reshape(layers, -1)
        assert not found.selected_LNV[dead_LN].any()
        assert not found.passed_filter_LN[dead_LN].any()
        assert np.isnan(found.entropy_LN[dead_LN]).all()

    def test_a_neuron_of_no_activity_is_not_selected_even_if_called_alive(self) -> None:
        rows = [(0.0, 0.0)] * 3 + [(0.5, 0.4)] * 7
        found = run(rows, [True] * 10, 1, filter_q=0.1, activation_q=0.1, top=0.9)
        assert not found.selected_LNV[0, :3].any()
        assert found.selected_LNV[0, 3:].all()

    def test_by_hand(self) -> None:
        """p = 1/2 1/4 1/4 has 1.5 bits; q x ln 2 nats."""
        rows = [(0.5, 0.25, 0.25), (0.4, 0.4, 0.4), (0.1, 0.1, 0.8), (0.0, 0.9, 0.0)]
        found = run(rows, [True] * 4, 1, filter_q=0.6, activation_q=0.6, top=0.5)
        nats = [1.5 * math.log(2), math.log(3), 0.2 * math.log(10) - 0.8 * math.log(0.8), 0.0]
        np.testing.assert_allclose(found.entropy_LN[0], nats, atol=1e-15)
        assert found.filter_threshold == 0.4  # the 7th of 12
        assert found.passed_filter_LN[0].tolist() == [True, False, True, True]
        assert np.argwhere(found.selected_LNV[0]).tolist() == [[2, 2], [3, 1]]
        assert found.entropy_cut == pytest.approx(nats[2])

    def test_a_neuron_may_belong_to_several_values_or_to_none(self) -> None:
        rows = [(0.9, 0.8, 0.1), (0.3, 0.0, 0.0), (0.2, 0.2, 0.2), (0.1, 0.1, 0.1)]
        found = run(rows, [True] * 4, 1, filter_q=0.5, activation_q=0.8, top=0.5)
        assert found.selected_LNV[0].tolist()[:2] == [[True, True, False], [False] * 3]
        assert found.selected_count == 1

    def test_thresholds_are_exceeded_not_met(self) -> None:
        found = run([(0.5, 0.5)] * 10, [True] * 10, 2, top=0.5)
        assert found.filter_threshold == found.activation_threshold == 0.5
        assert not found.passed_filter_LN.any()
        assert found.selected_count == 0
        assert math.isnan(found.entropy_cut)

    @pytest.mark.parametrize("layers", [1, 2, 5])
    def test_ties_are_taken_in_order(self, layers: int) -> None:
        rows = [(0.1, 0.2), (0.8, 0.4)] * 20
        found = run(rows, [True] * 40, layers, filter_q=0.5, activation_q=0.5, top=0.1)
        selected = np.flatnonzero(found.selected_LNV.any(axis=-1)).tolist()
        assert selected == [1, 3, 5, 7]


class TestUnrouted:
    """A probability that is NaN: the neuron's expert saw no token of the value."""

    @settings(max_examples=150, deadline=None)
    @given(tables(), SHARES, SHARES, st.data())
    def test_are_as_if_not_there_but_for_the_fraction(
        self,
        table: tuple[list[Row], list[bool], int],
        filter_q: float,
        activation_q: float,
        data: st.DataObject,
    ) -> None:
        rows, alive, layers = table
        flags = st.lists(st.booleans(), min_size=len(rows), max_size=len(rows))
        unrouted = data.draw(flags)
        lost = data.draw(st.integers(0, len(rows[0]) - 1))
        holed = [
            (*row[:lost], math.nan, *row[lost + 1 :]) if hole else row
            for row, hole in zip(rows, unrouted, strict=True)
        ]
        found = run(holed, alive, layers, filter_q=filter_q, activation_q=activation_q, top=0.3)
        kept = [n for n, hole in enumerate(unrouted) if not hole]
        assert found.unrouted_count == len(rows) - len(kept)
        assert found.dead_count == sum(not alive[n] for n in kept)
        selected = found.selected_LNV.reshape(len(rows), -1)
        entropies = found.entropy_LN.reshape(-1)
        assert np.isnan(entropies[unrouted]).all()
        assert not selected[unrouted].any()
        assert not found.passed_filter_LN.reshape(-1)[unrouted].any()
        if not kept:
            assert math.isnan(found.filter_threshold)
            assert math.isnan(found.activation_threshold)
            return
        few, living = [rows[n] for n in kept], [alive[n] for n in kept]
        top = round(len(rows) * 0.3) / len(few)  # the fraction is of all neurons
        chosen, values = slow_select(few, living, filter_q, top, activation_q)
        told = {n: set(np.flatnonzero(selected[at]).tolist()) for n, at in enumerate(kept)}
        assert told == {n: values.get(n, set()) for n in range(len(few))}
        every = [p for row in few for p in row]
        assert found.filter_threshold == slow_quantile(every, filter_q)
        assert found.activation_threshold == slow_quantile(every, activation_q)
        assert math.isnan(found.entropy_cut) == (not chosen)

    def test_by_hand(self) -> None:
        rows = [(0.9, math.nan), (math.nan, math.nan), (0.8, 0.1), (0.2, 0.3), (0.0, 0.0)]
        found = run(rows, [True] * 4 + [False], 1, filter_q=0.5, activation_q=0.5, top=0.4)
        assert (found.unrouted_count, found.dead_count) == (2, 1)
        assert found.filter_threshold == 0.1  # the 3rd of 6
        assert found.selected_LNV[0].tolist() == [[False, False]] * 2 + [
            [True, False], [True, True], [False, False]
        ]  # fmt: skip


class TestQuantile:
    def test_of_nothing_is_nan(self) -> None:
        assert math.isnan(quantile(np.zeros((0, 3)), 0.5))

    @given(st.lists(st.floats(-5, 5), min_size=1, max_size=50), st.floats(0.01, 0.99))
    def test_is_the_round_nq_th_smallest(self, values: list[float], q: float) -> None:
        assert quantile(np.array(values), q) == slow_quantile(values, q)

    @pytest.mark.parametrize(("size", "q", "kth"), [(10, 0.25, 2), (10, 0.35, 4), (3, 0.95, 3)])
    def test_rounds_halves_to_even_as_python_does(self, size: int, q: float, kth: int) -> None:
        assert quantile(np.arange(1.0, size + 1), q) == kth

    def test_keeps_float32(self) -> None:
        """Counts over questions in float32: the threshold must be one of them, to the bit."""
        values = (np.arange(1000, dtype=np.float32) / np.float32(7)).astype(np.float32)
        assert np.float32(quantile(values, 0.95)) in values
        assert entropy(values.reshape(-1, 2)).dtype == np.float32


def lape(p: np.ndarray[Any, Any], q: float, top: float) -> list[list[set[int]]]:
    """LAPE's published code, step for step, with np.sort for its kthvalue and topk.

    Returns [value][layer] -> neurons, as the released masks are laid out.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        normed = p / p.sum(-1, keepdims=True)
        normed[np.isnan(normed)] = 0
        logs = np.where(normed > 0, np.log(normed), np.float32(0))
    bits = -(normed * logs).sum(-1)
    ordered = np.sort(p.flatten())
    threshold = ordered[round(ordered.size * q) - 1]
    bits[(p > threshold).sum(-1) == 0] = np.inf
    flat = bits.flatten()
    index = np.argsort(flat, kind="stable")[: round(flat.size * top)]
    assert np.isfinite(flat[index]).all(), "too few neurons pass for a fair comparison"
    row, col = index // p.shape[1], index % p.shape[1]
    found: list[list[set[int]]] = [[set() for _ in p] for _ in range(p.shape[2])]
    for layer, neuron in zip(row.tolist(), col.tolist(), strict=True):
        for value in np.flatnonzero(p[layer, neuron] > threshold):
            found[value][layer].add(neuron)
    return found


def ours(p: np.ndarray[Any, Any], q: float, top: float) -> list[list[set[int]]]:
    """The same from `select`."""
    found = select(
        p, p.sum(-1) > 0, filter_quantile=q, top_fraction=top, activation_quantile=q
    )  # fmt: skip
    return [
        [set(np.flatnonzero(layer_N).tolist()) for layer_N in found.selected_LNV[..., value]]
        for value in range(p.shape[-1])
    ]


@pytest.mark.parametrize("q", [0.95, 0.5])
@pytest.mark.parametrize("num_values", [2, 3, 12])
@pytest.mark.parametrize("seed", range(3))
def test_a_synthetic_release_comes_out_as_lape_has_it(q: float, num_values: int, seed: int) -> None:
    """Counts over the number of questions in float32, so that "probabilities" exceed 1."""
    rng = np.random.default_rng(seed)
    questions = rng.integers(150, 220, num_values).astype(np.float32)
    rate = rng.gamma(0.5, 40, (4, 500, 1)) * rng.lognormal(0, 0.2, (4, 500, num_values))
    counts = rng.poisson(rate * questions).astype(np.int32)
    counts[:, ::50] = 0
    p = counts.astype(np.float32) / questions
    assert p.max() > 1
    theirs = lape(p.copy(), q, 0.02)
    assert sum(len(neurons) for layers in theirs for neurons in layers) > 10
    assert ours(p, q, 0.02) == theirs


@pytest.mark.skipif(not RELEASE.is_dir(), reason="the authors' release is not at hand")
@pytest.mark.parametrize("value", ["和谐", "富强", "民主", "爱国"])
@pytest.mark.parametrize(("kind", "q"), [("decision", 0.95), ("semantic", 0.50)])
def test_the_published_selections_come_out(value: str, kind: str, q: float) -> None:
    """Neuron for neuron, with the authors' denominator (questions, not tokens)."""
    torch = pytest.importorskip("torch")
    counts = [
        torch.load(RELEASE / f"counts/{value}-{side}.pt", weights_only=True)
        for side in ("support", "conflict")
    ]
    p = np.stack(
        [c["over_zero"].numpy().astype(np.float32) / np.float32(int(c["question_num"]))
         for c in counts],
        axis=-1,
    )  # fmt: skip
    mask = torch.load(RELEASE / f"masks/activation_mask_{value}_{kind}_0.01", weights_only=True)
    theirs = [[set(neurons.tolist()) for neurons in layers] for layers in mask]
    assert sum(map(len, theirs[0])) > 1000
    assert ours(p, q, 0.01) == theirs

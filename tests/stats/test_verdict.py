"""Who passes: laws of the two tests, of placebos, and of the counts made of them."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vxdist.stats.verdict import excludes_zero, outermost, passes, sum_up

SHIFTS = st.lists(st.integers(-3, 3), min_size=2, max_size=6)
"""Few numbers, so that many tie."""


def judge(shift_C: list[int] | np.ndarray) -> list[bool]:
    """With intervals of 1 to both sides."""
    of = np.array(shift_C, dtype=np.float64)
    return [bool(b) for b in passes(of, of - 1, of + 1)]


@given(SHIFTS)
def test_both_tests_by_their_words(shift_C: list[int]) -> None:
    for c, told in enumerate(judge(shift_C)):
        others = shift_C[:c] + shift_C[c + 1 :]
        outside = shift_C[c] > max(others) or shift_C[c] < min(others)
        assert told == (abs(shift_C[c]) > 1 and outside)


@given(SHIFTS, st.data())
def test_mask_and_draw_exchanged_exchange_their_verdicts(
    shift_C: list[int], data: st.DataObject
) -> None:
    """A placebo is judged as the mask would be in its place."""
    draw = data.draw(st.integers(1, len(shift_C) - 1))
    swapped = list(range(len(shift_C)))
    swapped[0], swapped[draw] = draw, 0
    told, after = judge(shift_C), judge([shift_C[c] for c in swapped])
    assert after == [told[c] for c in swapped]


def test_what_has_no_interval_or_no_other_does_not_pass() -> None:
    nan = np.full(3, np.nan)
    assert not passes(np.array([5.0, 0.0, 0.0]), nan, nan).any()
    assert not passes(nan, nan, nan).any()
    one = np.array([5.0])
    assert not passes(one, one, one).any()
    assert not excludes_zero(np.array([0.0, -1.0]), np.array([1.0, 0.0])).any()
    assert outermost(np.array([1.0, 1.0, 0.0])).tolist() == [False, False, True]


@pytest.mark.parametrize(
    ("draws", "effect", "expected"), [(1, 0.0, 1.0), (3, 0.0, 0.5), (8, 0.0, 2 / 9), (8, 9.0, 1.0)]
)
def test_passes_at_the_known_rate(draws: int, effect: float, expected: float) -> None:
    """Where no interval holds zero, a mask like its draws is outermost in 2 / (K + 1) of cells;
    a planted effect always is."""
    rng = np.random.default_rng(draws)
    cells, at_mask, at_draws = 4000, 0, 0
    for _ in range(cells):
        shift_C = rng.normal(size=1 + draws)
        shift_C[0] += effect
        told = passes(shift_C, np.ones_like(shift_C), np.ones_like(shift_C))
        at_mask += int(told[0])
        at_draws += int(told[1:].sum())
    assert at_mask / cells == pytest.approx(expected, abs=0.03)
    if not effect:  # draws in the mask's place pass as often as the mask
        assert at_draws / cells / draws == pytest.approx(expected, abs=0.03)


def test_counts_by_hand() -> None:
    passes_MVG = np.zeros((2, 2, 1), dtype=bool)
    passes_MVG[0, 0] = passes_MVG[0, 1] = True
    placebo_MVGK = np.zeros((2, 2, 1, 3), dtype=bool)
    placebo_MVGK[1, 1, 0, 2] = placebo_MVGK[0, 1, 0, 1] = True
    told = sum_up(passes_MVG, placebo_MVGK)
    assert told == {
        "cells": 4,
        "passed": 2,
        "passed_own": 1,
        "placebo": [0, 1, 1],
        "placebo_own": [0, 0, 1],
        "beyond_controls": True,
    }
    assert json.loads(json.dumps(told)) == told


@pytest.mark.parametrize(
    ("passed", "placebo", "beyond"),
    [(0, [0, 0], False), (1, [1, 0], False), (1, [0, 0], True), (2, [], False)],
)
def test_beyond_controls_is_more_than_every_draw(
    passed: int, placebo: list[int], beyond: bool
) -> None:
    passes_MVG = (np.arange(9) < passed).reshape(3, 3, 1)
    placebo_MVGK = (
        np.stack([(np.arange(9) < n).reshape(3, 3, 1) for n in placebo], axis=-1)
        if (placebo)
        else np.zeros((3, 3, 1, 0), dtype=bool)
    )
    assert sum_up(passes_MVG, placebo_MVGK)["beyond_controls"] is beyond

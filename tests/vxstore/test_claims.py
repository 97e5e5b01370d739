"""What a score declares that can be claimed of its neurons, and the levels that follow."""

from typing import Any

import numpy as np
import pytest
import xarray as xr

from vxstore.claims import Claim, find_claims, find_levels
from vxstore.errors import StoreError

DIMS = ("layer", "neuron", "value", "language")
NAN = float("nan")


def scores(**attrs: Any) -> xr.Dataset:
    """One layer of four neurons, one value and one language; the last two are selected."""
    return xr.Dataset(
        {
            "q_a": (DIMS, np.array([0.1, 0.2, NAN, 0.05], "float32").reshape(1, 4, 1, 1)),
            "q_b": (DIMS, np.array([0.5, NAN, 0.3, 0.01], "float32").reshape(1, 4, 1, 1)),
            "omnibus": (("layer", "neuron", "language"), np.zeros((1, 4, 1))),
            "whole": (DIMS, np.zeros((1, 4, 1, 1), "int32")),
            "selected": (DIMS, np.array([0, 0, 1, 1], bool).reshape(1, 4, 1, 1)),
        },
        attrs=attrs,
    )


A = {"level": 1, "name": "differs", "array": "q_a"}
B = {"level": 4, "name": "stance", "array": "q_b"}


def test_levels_are_the_highest_claims() -> None:
    found = scores(claims=[B, A], fdr=0.1)
    claims = find_claims(found)
    assert claims.claims == (Claim(**A), Claim(**B))
    level_GVLN = find_levels(found, claims)
    assert level_GVLN.dtype == np.int8
    # At the fdr is enough; not tested and not selected is nothing; selected is listed at least.
    assert level_GVLN[0, 0, 0].tolist() == [1, -1, 0, 4]
    assert [claims.title(n) for n in (-1, 0, 1, 4)] == ["", "0 listed", "1 differs", "4 stance"]


@pytest.mark.parametrize(
    "attrs",
    [
        {},
        {"claims": []},
        {"claims": [A], "fdr": 0.1, "tests": {"en": {"untested": "fewer than 6 clusters"}}},
        {"claims": [{**A, "array": "gone"}], "tests": {"en": {"untested": "no clusters"}}},
    ],
)
def test_scores_without_tests_have_no_claims(attrs: dict[str, Any]) -> None:
    found = scores(**attrs)
    assert find_levels(found, find_claims(found))[0, 0, 0].tolist() == [-1, -1, 0, 0]


@pytest.mark.parametrize(
    ("attrs", "problem"),
    [
        ({"claims": 3}, "claims: found 3, expected a list of claims"),
        ({"claims": {"a": 1}}, "claims: found {'a': 1}, expected a list"),
        ({"claims": [1]}, "claims: found 1, expected an object"),
        ({"claims": [{**A, "level": 0}]}, "claims: level: found 0, expected 1 to 127"),
        ({"claims": [{**A, "level": True}]}, "claims: level: found True"),
        ({"claims": [{**A, "level": 128}]}, "claims: level: found 128"),
        ({"claims": [{**A, "name": " "}]}, "claims: name: found ' ', expected a word"),
        ({"claims": [{**A, "array": "q_c"}]}, "claims: array: found 'q_c', expected the name of"),
        ({"claims": [{**A, "array": "omnibus"}]}, "omnibus is float64 by layer, neuron, language,"),
        ({"claims": [{**A, "array": "whole"}]}, "whole is int32 by layer"),
        ({"claims": [A, {**B, "level": 1}]}, "two have the same level"),
        ({"claims": [A, {**B, "name": "differs"}]}, "two have the same name"),
        ({"claims": [A]}, "fdr: found None, expected a number between 0 and 1"),
        ({"claims": [A], "fdr": "0.1"}, "fdr: found '0.1'"),
        ({"claims": [A], "fdr": True}, "fdr: found True"),
        ({"claims": [A], "fdr": NAN}, "fdr: found nan"),
    ],
)
def test_unlawful_declarations(attrs: dict[str, Any], problem: str) -> None:
    with pytest.raises(StoreError) as caught:
        find_claims(scores(**attrs))
    assert problem in str(caught.value)
    assert "\n" not in str(caught.value)

"""The verdict: which masks are found, and which of them are selective."""

import dataclasses
import json
import math

import numpy as np
import pytest

from vxdist.stats.verdict import Harm, conclude, not_selective

MASKS, LANGUAGES = ("calm", "zeal"), ("zh", "en")
NO_HARM = Harm(
    masks=list(MASKS),
    languages=list(LANGUAGES),
    shift_MG=np.ones((2, 2)),
    p_MG=np.full((2, 2), 0.9),
    rank_MG=np.full((2, 2), 0.5),
)
NAMES = ("mean_shift", "p_value", "q_value", "q_specific", "specific_shift")


def judge(
    q: dict[tuple[str, str], float],
    specific: dict[tuple[str, str], float],
    *,
    beyond: float = 0.5,
    **changes: object,
) -> dict[str, object]:
    """The verdict on own cells with these q; the others have 1, and shifts of -1, -2, -3, -4.

    `beyond`: the fraction of a shift by which it exceeds those on other values' dilemmas.
    """
    arrays = {name: np.full((2, 2, 2), np.nan) for name in NAMES}
    shift = 0.0
    for m, mask in enumerate(MASKS):
        for g, language in enumerate(LANGUAGES):
            shift -= 1.0
            arrays["q_value"][m, m, g] = q.get((mask, language), 1.0)
            arrays["q_specific"][m, m, g] = specific.get((mask, language), 1.0)
            arrays["mean_shift"][m, m, g] = shift
            arrays["specific_shift"][m, m, g] = beyond * shift
            arrays["p_value"][m, m, g] = arrays["q_value"][m, m, g] / 4
    arrays["q_value"][0, 1] = 0.001  # another value's dilemmas: no verdict on them
    family = {"own": {"cells": 4, "smallest_q": min([*q.values(), 1.0])}}
    settings: dict[str, object] = {"draws": 16, "fdr": 0.1, **changes}
    found = conclude(arrays, family, MASKS, LANGUAGES, **settings)  # type: ignore[arg-type]
    assert json.loads(json.dumps(found)) == found
    return dict(found)


def test_found_are_own_cells_with_a_small_q_the_smallest_first() -> None:
    cells = {("calm", "en"): 0.1, ("zeal", "zh"): 0.02}
    found = judge(cells, {("zeal", "zh"): 0.04}, harm=NO_HARM)
    assert found["found"] == [
        {"mask": "zeal", "language": "zh", "shift": -3.0, "p": 0.005, "q": 0.02, "q_specific": 0.04,
         "selective": True, "not_selective": ""},
        {"mask": "calm", "language": "en", "shift": -2.0, "p": 0.025, "q": 0.1, "q_specific": 1.0,
         "selective": False,
         "not_selective": "its own dilemmas do not move more than other values'"},
    ]  # fmt: skip
    assert (found["masks"], found["cells"], found["smallest_q"]) == (2, 4, 0.02)
    assert found["untested"] == ""


def test_none_is_found_above_the_fdr() -> None:
    found = judge({("calm", "en"): 0.1001}, {("calm", "en"): 0.0})
    assert found["found"] == []
    assert found["smallest_q"] == 0.1001


@pytest.mark.parametrize(
    ("draws", "reason"), [(0, "0 of the at least 4 control draws"), (4, "shift the dilemmas alike")]
)
def test_what_could_not_be_judged_says_why(draws: int, reason: str) -> None:
    nothing = {n: np.full((1, 1, 1), np.nan) for n in NAMES}
    family = {"own": {"cells": 0, "smallest_q": None}}
    found = conclude(nothing, family, ["a"], ["en"], draws=draws, fdr=0.1)
    assert reason in found["untested"]
    assert found["found"] == []


@pytest.mark.parametrize(
    ("q", "specific", "harm", "reason"),
    [
        (0.1, 0.1, (0.11, 0.9), ""),
        (0.2, 0.01, (0.9, 0.5), "do not move more than under its matched draws"),
        (0.01, 0.2, (0.9, 0.5), "do not move more than other values'"),
        (0.01, math.nan, (0.9, 0.5), "not tested against other values"),
        (0.01, 0.01, (0.1, 0.9), "it harms neutral text more than its matched draws do"),
        (0.01, 0.01, None, "harm not measured"),
        (0.01, 0.01, (math.nan, math.nan), "harm not measured"),
        (0.01, 0.01, (math.nan, 1.0), "it harms neutral text"),  # too few draws for a p
        (0.01, 0.01, (math.nan, 0.75), ""),
    ],
)
def test_selective_needs_all_three(
    q: float, specific: float, harm: tuple[float, float] | None, reason: str
) -> None:
    found = not_selective(q, specific, 0.1, harm, further=True)
    assert reason in found
    assert bool(found) == bool(reason)


def test_harm_is_that_of_the_same_mask_and_language() -> None:
    p_MG = np.full((2, 2), 0.9)
    p_MG[1, 0] = 0.001  # zeal, zh
    cells = dict.fromkeys([("zeal", "zh"), ("zeal", "en")], 0.01)
    found = judge(cells, cells, harm=dataclasses.replace(NO_HARM, p_MG=p_MG))
    assert {(of["language"], of["selective"]) for of in found["found"]} == {  # type: ignore[attr-defined]
        ("zh", False),
        ("en", True),
    }


def test_texts_without_values_have_one_family() -> None:
    arrays = {name: np.full((2, 1, 2), np.nan) for name in NAMES}
    arrays["q_value"][...] = 0.5
    arrays["q_value"][1, 0, 1], arrays["p_value"][1, 0, 1] = 0.01, 0.005
    arrays["mean_shift"][...] = 0.2
    family = {"all": {"cells": 4, "smallest_q": 0.01}}
    found = conclude(arrays, family, MASKS, LANGUAGES, draws=16, fdr=0.1)
    (of,) = found["found"]
    assert (of["mask"], of["language"], of["selective"]) == ("zeal", "en", False)
    assert of["not_selective"] == "the texts have no values"


def test_a_mask_that_moves_other_values_further_is_not_selective() -> None:
    q = {("calm", "en"): 0.01}
    for beyond, selective in ((0.5, True), (-0.5, False)):
        (found,) = judge(q, q, beyond=beyond, harm=NO_HARM)["found"]  # type: ignore[attr-defined]
        assert found["selective"] is selective

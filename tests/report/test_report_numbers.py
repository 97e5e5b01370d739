"""What the report computes, checked by hand."""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import pytest

import vxstore
from vxdist.config import Config
from vxdist.report import text
from vxdist.report.caveats import caveats
from vxdist.report.content import gather
from vxdist.report.outcome import Outcome
from vxdist.report.selection import Selection
from vxdist.report.tables import Scale
from vxdist.report.words import statement, tiles, verdict

if TYPE_CHECKING:
    from conftest import StoreMaker


def selection(belongs: list[list[bool]], **changes: object) -> Selection:
    """Neurons of one layer with entropies 0.1, 0.2, ...; p is 0.9 for own values, else 0.3."""
    belongs_SV = np.array(belongs, dtype=bool)
    count = len(belongs_SV)
    fields: dict[str, object] = {
        "language": "en",
        "num_layers": 2,
        "layer_S": np.ones(count, dtype=np.int64),
        "neuron_S": np.arange(count),
        "entropy_S": 0.1 * (1 + np.arange(count)),
        "probability_SV": np.where(belongs_SV, 0.9, 0.3),
        "belongs_SV": belongs_SV,
        "dead_count": 0,
        "thresholds": {},
    }
    return Selection(**{**fields, **changes})  # type: ignore[arg-type]


def test_overlap_by_hand() -> None:
    of = selection([[True, True, False], [True, False, False], [False, False, True]])
    # Sets {0, 1}, {0}, {2}: overlaps 1/2, 0 and 0.
    assert of.jaccard == pytest.approx(1 / 6)
    assert of.values_per_neuron == pytest.approx(4 / 3)
    assert of.count_LV.tolist() == [[0, 0, 0], [2, 1, 1]]
    assert of.entropy_share == pytest.approx(0.3 / math.log(3))
    own, others = of.own_and_others
    assert own == pytest.approx(0.9)
    assert others == pytest.approx((0.6 + 0.6 + 0.3 + 0.3) / 4)


def test_nothing_selected_has_no_numbers_but_no_error() -> None:
    of = selection([], belongs_SV=np.zeros((0, 3), bool), probability_SV=np.zeros((0, 3)))
    numbers = (of.jaccard, of.values_per_neuron, of.entropy_share, *of.own_and_others)
    assert all(math.isnan(number) for number in numbers)
    assert of.top(0, 5) == []
    assert of.count_LV.sum() == 0


def test_one_value_has_no_others() -> None:
    of = selection([[True], [True]])
    assert math.isnan(of.entropy_share)
    assert math.isnan(of.top(0, 1)[0].others)


def test_top_is_lowest_entropy_first_and_ties_in_order() -> None:
    of = selection([[True], [False], [True], [True]], entropy_S=np.array([0.5, 0.1, 0.2, 0.2]))
    assert [neuron.name for neuron in of.top(0, 2)] == ["L1/N2", "L1/N3"]


def read(maker: "StoreMaker", make_config: Callable[..., Config]) -> Outcome:
    outcome = gather(make_config(maker.write())).outcome
    assert outcome is not None
    return outcome


def test_effects_equal_the_store(maker: "StoreMaker", make_config: Callable[..., Config]) -> None:
    outcome = read(maker, make_config)
    effect = vxstore.open(maker.path).effect("choice").load()
    assert len(outcome.cells) == 3 * 3 * 2
    for cell in outcome.cells:
        at = effect.sel(mask=cell.mask, value=cell.value, language=cell.language)
        assert cell.mean_shift == float(at.mean_shift)
        assert np.mean(cell.control_shifts) == pytest.approx(float(at.control_mean))
        assert cell.masked_count == 8
        assert cell.passes
        assert cell.among == "above all 3"


def test_position_bias_and_mass(maker: "StoreMaker", make_config: Callable[..., Config]) -> None:
    english, _ = read(maker, make_config).letters
    assert (english.same_letter, english.first_letter, english.aligned) == (1.0, 1.0, 1.0)
    assert (english.mass_mean, english.mass_least) == (0.625, 0.625)
    assert english.dilemma_count == 12


def test_clear_masks_lead_and_no_draw_passes_for_one(
    maker: "StoreMaker", make_config: Callable[..., Config]
) -> None:
    outcome = read(maker, make_config)
    assert outcome.verdict is not None
    assert sum(outcome.verdict["placebo"]) < 18
    assert "always fewer than the masks" in verdict(outcome)
    assert "1 of 4 evaluations" in verdict(outcome)


def test_masks_like_controls_show_no_effect(
    maker: "StoreMaker", make_config: Callable[..., Config]
) -> None:
    maker.effect = 0.0
    assert "no effect beyond the controls" in verdict(read(maker, make_config))


def test_placebo_rate_is_that_of_chance(
    maker: "StoreMaker", make_config: Callable[..., Config]
) -> None:
    """Where every interval excludes zero, a draw among four is outside the rest in half."""
    maker.effect, maker.values = 0.0, [f"v{n}" for n in range(8)]
    maker.dilemmas = 2  # two dilemmas: same sign in half of the cells, and then no zero inside
    outcome = read(maker, make_config)
    assert outcome.verdict is not None
    share = np.mean(outcome.verdict["placebo"]) / len(outcome.cells)
    assert 0.2 < share < 0.5


def test_no_controls_is_said(maker: "StoreMaker", make_config: Callable[..., Config]) -> None:
    maker.controls = 0
    content = gather(make_config(maker.write()))
    assert content.outcome is not None
    assert not any(cell.beyond_controls for cell in content.outcome.cells)
    assert "No control draws were made" in " ".join(statement(content))


def test_one_dilemma_has_no_interval_and_no_pass(
    maker: "StoreMaker", make_config: Callable[..., Config]
) -> None:
    maker.dilemmas = 1
    told = read(maker, make_config).verdict
    assert told is not None
    assert told["placebo"] == [0, 0, 0]


def test_a_verdict_that_is_not_recorded_is_not_made_up(
    maker: "StoreMaker", make_config: Callable[..., Config]
) -> None:
    maker.verdict = False
    content = gather(make_config(maker.write()))
    assert content.outcome is not None
    assert content.outcome.verdict is None
    assert {cell.passes for cell in content.outcome.cells} == {None}
    assert content.outcome.cells[0].among == "above all 3"
    for said in (statement(content), [caveat.text for caveat in caveats(content)]):
        assert "not recorded" in " ".join(said)
    assert not [tile for tile in tiles(content) if "pass both tests" in tile.caption]


@pytest.mark.parametrize(
    ("number", "digits", "shown"),
    [
        (0.5, 2, "+0.50"),
        (-0.5, 2, "−0.50"),
        (-0.0004, 2, "0.00"),
        (math.nan, 2, "–"),
        (0, 1, "0.0"),
    ],
)
def test_signed(number: float, digits: int, shown: str) -> None:
    assert text.signed(number, digits) == shown


@pytest.mark.parametrize(
    ("share", "shown"),
    [(0.99997, "99.997%"), (0.9999999, "more than 99.999%"), (1.0, "100.000%"), (0.0, "0.000%"),
     (1e-9, "less than 0.001%"), (math.nan, "–")],
)  # fmt: skip
def test_percent_never_rounds_to_certainty(share: float, shown: str) -> None:
    assert text.percent(share, 3) == shown


@pytest.mark.parametrize(("low", "high"), [(-0.031, 0.058), (0.0, 1e-6), (-7.0, 90.0)])
def test_scale_ticks_are_round_and_within(low: float, high: float) -> None:
    scale = Scale(low=low, high=high)
    ticks = scale.ticks()
    assert 3 <= len(ticks) <= 6
    assert all(0 <= place <= scale.WIDTH for place, _ in ticks)
    assert scale.at(0) in [place for place, _ in ticks]

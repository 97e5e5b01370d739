"""What the report shows of selections and effects, checked by hand."""

import dataclasses
import math
import re
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import pytest

import vxstore
from vxdist.config import Config
from vxdist.report import text
from vxdist.report.content import gather
from vxdist.report.evaluation import Evaluation
from vxdist.report.findings import finding
from vxdist.report.sections.caveats import caveats
from vxdist.report.sections.choice import read_letters
from vxdist.report.sections.claims import causal
from vxdist.report.sections.overview import statement, tiles
from vxdist.report.sections.own_effects import Scale
from vxdist.report.sections.vape import entropy_fraction
from vxdist.report.selection import Selection
from vxstore.effect_words import conclude

if TYPE_CHECKING:
    from conftest import StoreMaker


def selection(belongs: list[list[bool]], **changes: object) -> Selection:
    """Neurons of layer 1 of two, ranked 0.1, 0.2, ...; p is 0.9 for their values, else 0.3."""
    belongs_SV = np.array(belongs, dtype=bool).reshape(len(belongs), -1 if belongs else 3)
    neuron_K, value_K = np.nonzero(belongs_SV)
    probability_SV = np.where(belongs_SV, 0.9, 0.3)
    others_SV = probability_SV.sum(axis=1, keepdims=True) - probability_SV
    fields: dict[str, object] = {
        "language": "en",
        "num_layers": 2,
        "num_values": belongs_SV.shape[1],
        "layer_K": np.ones_like(neuron_K),
        "neuron_K": neuron_K,
        "value_K": value_K,
        "number_K": 0.1 * (1 + neuron_K),
        "probability_K": probability_SV[belongs_SV],
        "others_K": others_SV[belongs_SV] / max(1, belongs_SV.shape[1] - 1),
        "level_K": np.zeros_like(neuron_K),
        "ascending": True,
        "ranked_count": 0,
        "unscored_count": 0,
        "thresholds": {},
    }
    return Selection(**{**fields, **changes})  # type: ignore[arg-type]


def test_overlap_by_hand() -> None:
    of = selection([[True, True, False], [True, False, False], [False, False, True]])
    # Sets {0, 1}, {0}, {2}: overlaps 1/2, 0 and 0.
    assert of.jaccard == pytest.approx(1 / 6)
    assert of.values_per_neuron == pytest.approx(4 / 3)
    assert of.count_LV.tolist() == [[0, 0, 0], [2, 1, 1]]
    assert of.count_L.tolist() == [0, 3]
    assert entropy_fraction(of) == pytest.approx(0.3 / math.log(3))
    own, others = of.own_and_others
    assert own == pytest.approx(0.9)
    assert others == pytest.approx((0.6 + 0.6 + 0.3 + 0.3) / 4)


def test_nothing_selected_has_no_numbers_but_no_error() -> None:
    of = selection([])
    numbers = (of.jaccard, of.values_per_neuron, entropy_fraction(of), *of.own_and_others)
    assert all(math.isnan(number) for number in numbers)
    assert of.top(0, 5) == []
    assert of.count_LV.sum() == 0


def test_one_value_has_no_others() -> None:
    of = selection([[True], [True]], others_K=np.full(2, np.nan))
    assert math.isnan(entropy_fraction(of))
    assert math.isnan(of.own_and_others[1])
    assert math.isnan(of.top(0, 1)[0].others)


def test_probabilities_that_are_not_known_are_left_out() -> None:
    of = selection([[True, False], [True, False]], probability_K=np.array([np.nan, 0.5]))
    assert of.own_and_others[0] == 0.5


def test_top_is_first_ranked_first_and_ties_in_order() -> None:
    belongs = [[True], [False], [True], [True]]
    lowest = selection(belongs, number_K=np.array([0.5, 0.2, 0.2]))
    assert [neuron.name for neuron in lowest.top(0, 2)] == ["L1/N2", "L1/N3"]
    highest = selection(belongs, number_K=np.array([0.5, 0.7, 0.7]), ascending=False)
    assert [neuron.name for neuron in highest.top(0, 2)] == ["L1/N2", "L1/N3"]


def read(maker: "StoreMaker", make_config: Callable[..., Config]) -> Evaluation:
    evaluation = gather(make_config(maker.write())).evaluation
    assert evaluation is not None
    return evaluation


def test_effects_equal_the_store(maker: "StoreMaker", make_config: Callable[..., Config]) -> None:
    evaluation = read(maker, make_config)
    effect = vxstore.open(maker.path).effect("choice").load()
    assert len(evaluation.cells) == 3 * 3 * 2
    assert evaluation.verdict == effect.attrs["verdict"]
    for cell in evaluation.cells:
        at = effect.sel(mask=cell.mask, value=cell.value, language=cell.language)
        assert cell.mean_shift == float(at.mean_shift)
        assert cell.control_shifts == tuple(at.control_shift.values.tolist())
        assert np.mean(cell.control_shifts) == pytest.approx(float(at.control_mean))
        assert cell.masked_count == 8
        assert cell.q_value == float(at.q_value)
        assert cell.is_found == (cell.q_value <= 0.1)
        assert cell.among == "above all 8"


def test_position_bias_and_mass(maker: "StoreMaker", make_config: Callable[..., Config]) -> None:
    evaluation = read(maker, make_config)
    english, _ = read_letters(evaluation.intact, evaluation.languages)
    assert (english.same_letter, english.first_letter, english.aligned) == (1.0, 1.0, 1.0)
    assert (english.mass_mean, english.mass_least) == (0.625, 0.625)
    assert english.dilemma_count == 12


def test_little_mass_is_said_at_the_head(
    maker: "StoreMaker", make_config: Callable[..., Config]
) -> None:
    content = gather(make_config(maker.write()))
    assert "gives the two letters only" not in " ".join(statement(content))
    assert not any("gives the letters" in tile.caption for tile in tiles(content))
    maker = dataclasses.replace(maker, mass=0.123, path=maker.path.replace("tiny", "low"))
    content = gather(make_config(maker.write()))
    expected = "gives the two letters only 12% of its probability in en and 12% of its probability"
    assert expected in " ".join(statement(content))
    assert any("gives the letters in en" in t.caption and t.number == "12%" for t in tiles(content))


def test_clear_masks_are_found_and_named(
    maker: "StoreMaker", make_config: Callable[..., Config]
) -> None:
    content = gather(make_config(maker.write()))
    assert content.evaluation is not None
    said = finding(content.evaluation)
    assert "3 of 3 masks move choices more than their matched draws: " in said
    assert re.search(r"kindness en \(\+0\.\d+, q <0\.01\)", said)
    assert content.evaluation.on_tails
    assert [tile.number for tile in tiles(content) if "matched draws" in tile.caption] == ["3 of 3"]


def test_masks_like_controls_show_no_effect(
    maker: "StoreMaker", make_config: Callable[..., Config]
) -> None:
    maker.effect = 0.0
    content = gather(make_config(maker.write()))
    assert content.evaluation is not None
    said = finding(content.evaluation)
    smallest = min(c.q_value for c in content.evaluation.cells if c.own)
    assert smallest > 0.1
    expected = "None of 3 masks moves choices more than its matched draws (smallest q "
    assert f"{expected}{smallest:.2f})" in said
    assert not content.evaluation.on_tails


@pytest.mark.parametrize("effect", [0.0, 0.5])
def test_level_5_is_that_of_masks_found(
    maker: "StoreMaker", make_config: Callable[..., Config], effect: float
) -> None:
    maker.effect = effect
    content = gather(make_config(maker.write()))
    assert content.evaluation is not None
    (row,) = causal(content, "en")
    assert row.title == "5 causal"
    assert row.meaning.endswith("3 of 3 masks" if effect else "0 of 3 masks")
    assert row.numbers[0] == ("24" if effect else "0")
    other = dataclasses.replace(content.evaluation, mask_file="mine.json")
    assert causal(dataclasses.replace(content, evaluation=other), "en") == ()


def test_few_draws_say_what_a_p_needs(
    maker: "StoreMaker", make_config: Callable[..., Config]
) -> None:
    maker.controls = 3
    content = gather(make_config(maker.write()))
    assert content.evaluation is not None
    assert "No p was computed: 3 of the at least 4 control draws" in finding(content.evaluation)
    assert not any("matched draws" in tile.caption for tile in tiles(content))
    assert causal(content, "en") == ()


def test_no_controls_is_said(maker: "StoreMaker", make_config: Callable[..., Config]) -> None:
    maker.controls = 0
    content = gather(make_config(maker.write()))
    assert content.evaluation is not None
    assert not any(cell.beyond_controls for cell in content.evaluation.cells)
    assert "Without control draws, these shifts cannot be distinguished" in " ".join(
        statement(content)
    )


def test_one_dilemma_has_no_interval(
    maker: "StoreMaker", make_config: Callable[..., Config]
) -> None:
    maker.dilemmas = 1
    assert not any(cell.excludes_zero for cell in read(maker, make_config).cells)


def test_what_an_earlier_version_did_not_record_is_not_made_up(
    maker: "StoreMaker", make_config: Callable[..., Config]
) -> None:
    maker.verdict = False
    content = gather(make_config(maker.write()))
    assert content.evaluation is not None
    assert content.evaluation.verdict == {}
    assert not content.evaluation.is_tested
    assert {cell.passes for cell in content.evaluation.cells} == {None}
    assert not any(cell.is_found for cell in content.evaluation.cells)
    assert content.evaluation.cells[0].among == "above all 8"
    for texts in (statement(content), [caveat.text for caveat in caveats(content)]):
        assert "has a rank among its draws, and no p" in " ".join(texts)
        assert "without model work" in " ".join(texts)
    assert not [tile for tile in tiles(content) if "matched draws" in tile.caption]


def test_the_verdict_of_the_store_is_shown_even_where_it_disagrees_with_the_cells(
    maker: "StoreMaker", make_config: Callable[..., Config]
) -> None:
    """The report draws no conclusion of its own."""
    evaluation = read(maker, make_config)
    less = {**evaluation.verdict, "found": evaluation.verdict["found"][:1]}
    shown = finding(dataclasses.replace(evaluation, sentence=conclude(less)))
    assert "1 of 3 masks moves choices" in shown


def test_a_mask_without_neurons_has_no_effect_and_no_rank(
    maker: "StoreMaker", make_config: Callable[..., Config]
) -> None:
    maker.empty = ("thrift",)
    content = gather(make_config(maker.write()))
    assert content.evaluation is not None
    for cell in content.evaluation.cells:
        if cell.mask == "thrift":
            assert cell.among == "–"
            assert math.isnan(cell.mean_shift)
            assert not cell.passes
            assert not cell.excludes_zero
    empty = next(c for c in caveats(content) if c.title == "Masks without a neuron")
    assert "thrift in en and thrift in zh" in empty.text


def test_a_shift_level_with_a_draw_is_neither_above_nor_below(
    maker: "StoreMaker", make_config: Callable[..., Config]
) -> None:
    cell = read(maker, make_config).cells[0]
    shift = cell.mean_shift
    level = dataclasses.replace(
        cell, control_rank=0.5, control_shifts=(shift - 1, shift, shift + 1), draws=3
    )
    assert level.among == "above 1 of 3, level with 1"
    assert level.draws_below == (1, 2)
    earlier = dataclasses.replace(cell, control_rank=0.5, control_shifts=(), draws=1)
    assert earlier.among == "above 0 of 1, level with 1"


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


@pytest.mark.parametrize(
    ("count", "shown"), [(1, "the one control draw"), (8, "all 8 control draws")]
)
def test_every(count: int, shown: str) -> None:
    assert text.every(count, "control draw") == shown


@pytest.mark.parametrize(("low", "high"), [(-0.031, 0.058), (0.0, 1e-6), (-7.0, 90.0)])
def test_scale_ticks_are_round_and_within(low: float, high: float) -> None:
    scale = Scale(low=low, high=high)
    ticks = scale.ticks()
    assert 3 <= len(ticks) <= 6
    assert all(0 <= place <= scale.WIDTH for place, _ in ticks)
    assert scale.at(0) in [place for place, _ in ticks]

"""Laws that derived groups declare, and those of VAPE and of choice that hold without: each is
broken with its chunk re-encoded, so that no checksum tells, and is noticed by name.
"""

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vxstore
from vxdist.reduce.score import write_score
from vxdist.reduce.selectors.vape import Vape, VapeSettings
from vxstore.check.store import check
from vxstore.cli.main import main
from vxstore.groups import write_group
from vxstore.io import arrays
from vxstore.io.metadata import commit
from vxstore.schema import SCORES, ArraySpec

VAPE = {**Vape.arrays, **SCORES}

MakeStore = Callable[..., str]
VALUES, LABELS = ("calm", "zeal", "thrift"), ("zh", "en", "pooled")
BY_VALUE = ("layer", "neuron", "value", "language")
BY_LANGUAGE = ("layer", "neuron", "language")
SETTINGS = VapeSettings(
    filter_quantile=0.5,
    top_fraction=0.2,
    activation_quantile=0.5,
    min_active_tokens=1,
)


def spec(dims: tuple[str, ...], dtype: str = "float64", **laws: Any) -> ArraySpec:
    """An array that declares these laws."""
    return ArraySpec(dims=dims, dtype=dtype, units="1", long_name="of a test", **laws)


LAWFUL = {
    "margin": spec(BY_VALUE, valid_min=-1.0, valid_max=1),
    "level": spec(("language",), valid_min=0.5),
    "mean": spec(BY_VALUE, quotient_of="activation_sum"),
    "eligible": spec(BY_LANGUAGE, "bool"),
    "selected": spec(BY_VALUE, "bool", subset_of="eligible"),
    "certain": spec(BY_VALUE, "bool", subset_of="selected"),
}


@pytest.fixture(scope="module")
def whole(make_store: MakeStore, add_evaluation: Callable[[str], None]) -> str:
    """A store with VAPE, a score that declares every law, and two evaluations. For reading only."""
    path = make_store()
    write_score(path, "vape", Vape(SETTINGS))
    root = vxstore.open(path).root().load()
    total, tokens = (
        np.concatenate([count, count.sum(axis=-1, keepdims=True)], axis=-1)
        for count in (root.activation_sum.transpose(*BY_VALUE).values, root.token_count.values)
    )
    rng = np.random.default_rng(0)
    margin = rng.uniform(-1, 1, total.shape)
    eligible = rng.random((4, 6, 3)) < 0.7
    selected = eligible[:, :, None] & (margin > 0.2)
    data = {
        "margin": np.where(selected, margin, np.nan),
        "level": np.full(3, 0.5),
        "mean": total / tokens,
        "eligible": eligible,
        "selected": selected,
        "certain": selected & (margin > 0.9),
    }
    labels: dict[str, Any] = {
        "layer": range(4), "neuron": range(6), "value": VALUES, "language": LABELS
    }  # fmt: skip
    attrs = {"ranked_by": "margin", "ascending": False, "ranked_among": "eligible"}
    write_group(path, "scores/margin", LAWFUL, data, labels, attrs)
    add_evaluation(path)
    add_harm(path)
    return path


def add_harm(path: str) -> None:
    """An evaluation of another outcome."""
    dims = ("condition", "dilemma")
    specs = {
        "kl": spec(dims, valid_min=0.0),
        "loss": spec(dims),
        "sealed": spec(("condition",), "bool"),
    }
    data = {"kl": np.ones((2, 3)), "loss": np.full((2, 3), np.nan), "sealed": np.ones(2, bool)}
    labels = {"condition": ["intact", "calm"], "dilemma": ["a", "b", "c"]}
    attrs = {"outcome": "harm", "effect_of": "kl", "settings": {"name": "harm"}}
    write_group(path, "evaluation/harm", specs, data, labels, attrs)
    effect = {"mean_shift": spec(("mask",), valid_max=3.0)}
    write_group(path, "evaluation/harm/effect", effect, {"mean_shift": np.array([np.nan])},
                {"mask": ["calm"]}, {})  # fmt: skip


@pytest.fixture
def copy(whole: str, tmp_path: Path) -> str:
    """A copy to break."""
    return shutil.copytree(whole, tmp_path / "copy.zarr").__fspath__()


def rewrite(path: str, name: str, at: tuple[int, ...], content: Any) -> None:
    """Change one number and encode its chunk again: all checksums are right."""
    array = arrays.get_array(arrays.open_group(path, mode="r+"), name)
    data = np.asarray(array[...])
    assert not np.array_equal(data[at], content, equal_nan=data.dtype.kind == "f")
    data[at] = content
    array[...] = data


def found(path: str) -> dict[str, str]:
    """Findings by array."""
    return {finding.array: finding.what for finding in check(path).findings}


def test_a_lawful_store_has_no_finding(whole: str) -> None:
    assert found(whole) == {}


def test_laws_are_written_as_attributes(whole: str) -> None:
    scores = vxstore.open(whole).scores("margin")
    assert (scores.margin.attrs["valid_min"], scores.margin.attrs["valid_max"]) == (-1.0, 1)
    assert scores["mean"].attrs["quotient_of"] == "activation_sum"
    assert scores.selected.attrs["subset_of"] == "eligible"
    assert not {"valid_min", "quotient_of", "subset_of"} & set(scores.eligible.attrs)


@pytest.mark.parametrize(
    ("array", "at", "content", "expected"),
    [
        ("margin", (1, 1, 1, 1), 1.01, "layer 1: above 1"),
        ("margin", (1, 1, 1, 1), -1.01, "layer 1: below -1"),
        ("margin", (1, 1, 1, 1), np.inf, "layer 1: above 1"),
        ("level", (2,), 0.49, "layer 0: below 0.5"),
        ("mean", (3, 5, 2, 0), 7.25, "layer 3 is not that of the counts"),
        ("mean", (3, 5, 2, 2), 7.25, "layer 3 is not that of the counts"),  # pooled
        ("mean", (0, 0, 0, 1), np.nan, "layer 0 is not that of the counts"),
    ],
)
def test_a_number_that_breaks_a_declared_law(
    copy: str, array: str, at: tuple[int, ...], content: float, expected: str
) -> None:
    rewrite(copy, f"scores/margin/{array}", at, content)
    assert found(copy) == {f"scores/margin/{array}": expected}


def test_a_selection_that_breaks_a_declared_law(copy: str) -> None:
    scores = vxstore.open(copy).scores("margin").load()
    layer, neuron, value, language = map(int, np.argwhere(scores.selected.values)[0])
    rewrite(copy, "scores/margin/eligible", (layer, neuron, language), False)
    expected = f"layer {layer}: true where eligible is false"
    assert found(copy)["scores/margin/selected"] == expected
    rewrite(copy, "scores/margin/eligible", (layer, neuron, language), True)
    rewrite(copy, "scores/margin/margin", (layer, neuron, value, language), np.nan)
    expected = f"layer {layer}: not finite where a neuron is selected"
    assert found(copy) == {"scores/margin/margin": expected}


def test_a_subset_of_the_same_dimensions(copy: str) -> None:
    """Value by value, and not for any of them."""
    scores = vxstore.open(copy).scores("margin").load()
    chosen = scores.selected.values
    at = tuple(map(int, np.argwhere(chosen.any(axis=2, keepdims=True) & ~chosen)[0]))
    rewrite(copy, "scores/margin/certain", at, True)
    expected = f"layer {at[0]}: true where selected is false"
    assert found(copy) == {"scores/margin/certain": expected}


@pytest.mark.parametrize(
    ("array", "content", "expected"),
    [
        ("entropy", 1.2, "above 1.09861"),  # ln 3
        ("entropy", -0.1, "below 0"),
        ("entropy", np.nan, "not finite where a neuron is selected"),
        ("activation_probability", 0.123456, "is not that of the counts"),
        ("passed_filter", False, "selected"),
    ],
)
@pytest.mark.parametrize(("language", "named"), [(0, False), (2, True)])
def test_vape_has_its_laws_without_declaring_them(
    copy: str, array: str, content: Any, expected: str, language: int, named: bool
) -> None:
    """Written before there were laws, or with no more than its name; pooled or not."""
    if named:
        group = arrays.open_group(copy, "scores/vape", mode="r+")
        commit(copy, {}, without=["scores/vape"])
        group.update_attributes({"selector": "vape", "ranked_by": "entropy"})
        commit(copy, {})
        assert found(copy) == {}
    selected = vxstore.open(copy).scores("vape").selected.values[..., language]
    layer, neuron, value = map(int, np.argwhere(selected)[0])
    dims = VAPE[array].dims
    at = (layer, neuron, value, language) if "value" in dims else (layer, neuron, language)
    rewrite(copy, f"scores/vape/{array}", at, content)
    name = "selected" if array == "passed_filter" else array
    findings = found(copy)
    what = findings.pop(f"scores/vape/{name}")
    assert findings in ({}, {f"scores/vape/{array}": "not what was written"})
    assert what.startswith(f"layer {layer}")
    assert expected in what or what.endswith("true where passed_filter is false")


@pytest.mark.parametrize(
    ("array", "at", "content", "expected"),
    [
        ("choice/log_odds", (1, 0, 1), np.inf, "not finite"),
        ("choice/log_odds", (1, 0, 1), np.nan, "not finite"),
        ("choice/option_mass", (0, 1, 0), 1.01, "above 1"),
        ("choice/option_mass", (0, 1, 0), -0.01, "below 0"),
        ("choice/option_mass", (0, 1, 0), np.nan, "not finite"),
        ("choice/sealed", (1,), False, "finished, but a condition is not sealed"),
        ("harm/kl", (1, 2), -0.5, "below 0"),
        ("harm/kl", (1, 2), np.nan, "not finite"),
        ("harm/sealed", (0,), False, "finished, but a condition is not sealed"),
        ("harm/effect/mean_shift", (0,), 4.0, "above 3"),
    ],
)
def test_evaluations_of_any_outcome(
    copy: str, array: str, at: tuple[int, ...], content: Any, expected: str
) -> None:
    rewrite(copy, f"evaluation/{array}", at, content)
    assert found(copy) == {f"evaluation/{array}": expected}


def test_what_declares_no_bounds_may_be_undefined(whole: str) -> None:
    assert np.isnan(vxstore.open(whole).evaluation("harm").loss.values).all()


@pytest.mark.parametrize("form", ["table", "json", "csv"])
def test_findings_say_how_to_fix_them(
    copy: str, form: str, capsys: pytest.CaptureFixture[str]
) -> None:
    rewrite(copy, "evaluation/harm/kl", (1, 2), -0.5)
    assert main(["check", copy, "--format", form]) == 2
    out, err = capsys.readouterr()
    assert "1 finding, 0 of 12 parts; `vxstore check STORE --repair` marks it" in err
    if form == "json":
        (finding,) = json.loads(out)["findings"]
        assert finding == {
            "array": "evaluation/harm/kl", "what": "below 0", "fix": "recompute", "part": None
        }  # fmt: skip
    elif form == "csv":
        assert out == "array,part,what,fix\nevaluation/harm/kl,,below 0,recompute\n"
    else:
        assert "evaluation/harm/kl     -  below 0  recompute" in out


def test_info_of_any_outcome(whole: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", whole]) == 0
    assert "conditions 2, dilemmas 3, outcome harm" in capsys.readouterr().out


def write_score_of(
    path: str, specs: Mapping[str, ArraySpec], attrs: Mapping[str, Any], **changed: Any
) -> None:
    """A score `odd` of these arrays, filled with zeros."""
    labels: dict[str, Any] = {
        "layer": range(4), "neuron": range(6), "value": VALUES, "language": LABELS
    }  # fmt: skip
    labels |= changed
    data = {
        name: np.zeros([len(labels.get(dim, "ab")) for dim in one.dims], dtype=one.dtype)
        for name, one in specs.items()
    }
    write_group(path, "scores/odd", specs, data, labels, attrs)


SOUND = {"size": spec(BY_VALUE), "selected": spec(BY_VALUE, "bool")}


@pytest.mark.parametrize(
    ("specs", "attrs", "expected"),
    [
        ({}, {"ranked_by": "nope"}, "ranked_by: found 'nope'"),
        ({}, {"ranked_by": 7}, "ranked_by: found 7"),
        ({}, {"ranked_by": "selected"}, "ranked_by: selected is bool"),
        ({}, {"ascending": 1}, "ascending: found 1"),
        ({}, {"ranked_among": "size"}, "ranked_among: size is float64"),
        (
            {},
            {"ranked_among": "selected"},
            "ranked_among: selected is bool by",
        ),
        ({"size": spec(("layer", "neuron"))}, {}, "ranked_by: size is float64 by layer, neuron"),
        ({"size": spec(("layer", "neuron", "x"))}, {}, "ranked_by: size is float64"),
        ({"selected": spec(BY_LANGUAGE, "bool")}, {}, "selected: selected is bool by layer"),
        ({"selected": spec(BY_VALUE, "int32")}, {}, "selected: selected is int32"),
        ({"size": spec(BY_VALUE, quotient_of="nope")}, {}, "no count 'nope'"),
        ({"size": spec(BY_VALUE, quotient_of="token_count")}, {}, "no count 'token_count'"),
        ({"x": spec(BY_LANGUAGE, quotient_of="active_count")}, {}, "x: quotient_of: expected"),
        ({"x": spec(BY_VALUE, "bool", subset_of="nope")}, {}, "x: subset_of: there is no array"),
        ({"x": spec(BY_VALUE, "bool", subset_of="size")}, {}, "x: cannot be a subset of size"),
        ({"x": spec(BY_LANGUAGE, "bool", subset_of="selected")}, {}, "x: cannot be a subset"),
        ({"x": spec(BY_VALUE, valid_min="low")}, {}, "x: valid_min: found 'low'"),  # type: ignore[arg-type]
        ({"x": spec(BY_VALUE, valid_max=True)}, {}, "x: valid_max: found True"),
        ({"x": spec(BY_VALUE, valid_max=10**400)}, {}, "x: valid_max: found 1000"),
        ({"x": spec(BY_VALUE, subset_of=3)}, {}, "x: subset_of: found 3"),  # type: ignore[arg-type]
    ],
)
def test_declarations_that_are_unlawful(
    copy: str, specs: dict[str, ArraySpec], attrs: dict[str, Any], expected: str
) -> None:
    write_score_of(copy, SOUND, {"ranked_by": "size"})
    assert found(copy) == {}
    write_score_of(copy, SOUND | specs, {"ranked_by": "size"} | attrs)
    ((name, what),) = found(copy).items()
    assert name == "scores/odd"
    assert expected in what
    assert "\n" not in what


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"layer": range(3)}, "it has 3 along layer, and the counts have 4"),
        ({"neuron": range(7)}, "it has 7 along neuron"),
        ({"value": ("calm", "zeal")}, "value: found calm, zeal, expected those of the counts"),
        ({"language": ("zh", "fr")}, "language: found fr, zh"),
        ({"language": ("pooled",)}, "language: found pooled"),
    ],
)
def test_a_score_of_other_counts(
    copy: str, changed: dict[str, Any], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write_score_of(copy, SOUND, {"ranked_by": "size"}, **changed)
    assert expected in found(copy)["scores/odd"]
    assert main(["neuron", copy, "3", "5", "--score", "odd"]) == 2
    assert expected in capsys.readouterr().err


def test_a_score_without_a_selection(copy: str) -> None:
    write_score_of(copy, {"size": spec(BY_VALUE)}, {"ranked_by": "size"})
    assert "selected: found 'selected'" in found(copy)["scores/odd"]

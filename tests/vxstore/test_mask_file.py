"""Mask files: what is exported comes back, what is not right is refused, and neurons go off."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import vxstore
from vxdist.cli import main
from vxdist.errors import UserError
from vxstore import query
from vxstore.mask_file import read_mask, read_masks

SHAPE, VALUES, LANGUAGES = (4, 6), ("a", "b"), ("en", "zh")
STORE: Any = SimpleNamespace(path="x.zarr", attrs={"model": "tiny", "model_fingerprint": "f0"})
HEAD = {
    "format": "vxdist-mask",
    "format_version": 1,
    "model": "tiny",
    "model_fingerprint": "f0",
    "layers": 4,
    "neurons": 6,
    "score": "vape",
}
MASKS = {v: {g: {"1": [0, 5]} for g in LANGUAGES} for v in VALUES}


def read(folder: Path, content: Any, wanted: tuple[str, ...] = VALUES) -> Any:
    """Write `content`, text or JSON, to a file, and read it as a mask file."""
    file = folder / "x.mask.json"
    file.write_text(content if isinstance(content, str) else json.dumps(content))
    return read_masks(
        str(file), STORE, shape_LN=SHAPE, values=VALUES, languages=LANGUAGES, wanted=wanted
    )


@given(st.lists(st.booleans(), min_size=96, max_size=96))
def test_any_selection_comes_back(
    tmp_path_factory: pytest.TempPathFactory, drawn: list[bool]
) -> None:
    selected_LNVG = np.array(drawn).reshape(*SHAPE, 2, 2)
    masks = {
        value: {
            language: {
                str(layer): np.flatnonzero(selected_LNVG[layer, :, v, g]).tolist()
                for layer in range(4)
            }
            for g, language in enumerate(LANGUAGES)
        }
        for v, value in enumerate(VALUES)
    }
    folder = tmp_path_factory.getbasetemp()
    np.testing.assert_array_equal(read(folder, {**HEAD, "masks": masks}), selected_LNVG)


def test_a_value_that_is_not_wanted_may_be_there_or_not(tmp_path: Path) -> None:
    both = read(tmp_path, {**HEAD, "masks": MASKS}, wanted=("a",))
    assert both[..., 1, :].any()
    one = read(tmp_path, {**HEAD, "masks": {"a": MASKS["a"]}}, wanted=("a",))
    assert not one[..., 1, :].any()
    np.testing.assert_array_equal(one[..., 0, :], both[..., 0, :])


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"format": "mask"}, "format: found \"mask\", expected 'vxdist-mask'"),
        ({"format": "\x1b[2J"}, r'format: found "\u001b[2J"'),
        ({"format_version": 2}, "format_version: found 2, expected at most 1"),
        ({"format_version": True}, "format_version: found true"),
        ({"model_fingerprint": "f1"}, "model_fingerprint: its neurons are of model"),
        ({"model_fingerprint": ""}, "model_fingerprint: its neurons are of model"),
        ({"layers": 5}, "layers: found 5, expected 4"),
        ({"neurons": 6.0}, "neurons: found 6.0, expected 6"),
        ({"masks": None}, "masks: found null, expected an object"),
        ({"masks": {"c": {}}}, "masks: the store has no value 'c'; there are a, b"),
        ({"masks": {"a": MASKS["a"]}}, "masks: there is no 'b' (there: a)"),
        ({"masks": {"a": {"en": {}}}}, "masks.a: there is no 'zh' (there: en)"),
        ({"masks": {"a": {"fr": {}}}}, "masks.a: the store has no language 'fr'; there are en, zh"),
        ({"masks": {"a": {"pooled": {}}}}, "masks.a: the store has no language 'pooled'"),
        ({"masks": {"a": {"en": [1]}}}, "masks.a.en: found [1], expected an object"),
        ({"masks": {"a": {"en": {"4": [1]}}}}, "masks.a.en: found layer '4', expected 0 to 3"),
        ({"masks": {"a": {"en": {"-1": [1]}}}}, "masks.a.en: found layer '-1'"),
        ({"masks": {"a": {"en": {"01": [1]}}}}, "masks.a.en: found layer '01'"),
        ({"masks": {"a": {"en": {"٣": [1]}}}}, "masks.a.en: found layer"),
        ({"masks": {"a": {"en": {"1": 3}}}}, "masks.a.en.1: found 3, expected a list"),
        ({"masks": {"a": {"en": {"1": [6]}}}}, "masks.a.en.1: found neuron 6, expected 0 to 5"),
        ({"masks": {"a": {"en": {"1": [-1]}}}}, "masks.a.en.1: found neuron -1"),
        ({"masks": {"a": {"en": {"1": [True]}}}}, "masks.a.en.1: found neuron true"),
        ({"masks": {"a": {"en": {"1": ["2"]}}}}, 'masks.a.en.1: found neuron "2"'),
        ({"masks": {"a": {"en": {"1": [2, 3, 2]}}}}, "masks.a.en.1: duplicate neuron 2"),
    ],
)
def test_what_is_not_right_is_refused(tmp_path: Path, change: dict[str, Any], told: str) -> None:
    with pytest.raises(UserError) as refusal:
        read(tmp_path, {**HEAD, "masks": MASKS, **change})
    message = str(refusal.value)
    assert message.startswith(str(tmp_path / "x.mask.json: "))
    assert told in message
    assert "\n" not in message
    assert "\x1b" not in message


def test_one_mask_of_a_file(tmp_path: Path) -> None:
    """Other masks may be missing; the model is compared only where its store is given."""
    file = tmp_path / "x.mask.json"
    file.write_text(json.dumps({**HEAD, "model_fingerprint": "", "masks": {"a": MASKS["a"]}}))
    named: dict[str, Any] = {"value": "a", "language": "zh", "shape_LN": SHAPE}
    mask_LN = read_mask(str(file), **named)
    assert np.argwhere(mask_LN).tolist() == [[1, 0], [1, 5]]
    with pytest.raises(UserError, match="model_fingerprint: its neurons are of model"):
        read_mask(str(file), **named, store=STORE)
    for change, told in (
        ({"value": "b"}, "masks: there is no 'b'; there are a"),
        ({"language": "de"}, "masks.a: there is no 'de'; there are en, zh"),
        ({"shape_LN": (4, 7)}, "neurons: found 6, expected 7"),
    ):
        with pytest.raises(UserError, match=told):
            read_mask(str(file), **{**named, **change})
    with pytest.raises(UserError, match=r"none\.json: No such file"):
        read_mask("none.json", **named)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "is not JSON"),
        ("{", "is not JSON"),
        ("PK\x03\x04..xl/workbook.xml", "is an Excel workbook, not JSON"),
        ("[" * 100_000, "is not JSON"),
        ('{"a": ' + "9" * 5000 + "}", "is not JSON"),
        ("[]", "expected an object"),
        ('{"format": 1, "format": 1}', "duplicate key 'format'"),
    ],
)
def test_what_is_no_mask_file(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(UserError, match=told):
        read(tmp_path, text)


@pytest.fixture
def recorded(run_options: list[str], tmp_path: Path) -> str:
    """A run up to its score."""
    for stage in ("locate", "reduce"):
        assert main([stage, *run_options]) == 0
    return str(tmp_path / "run.zarr")


def test_an_exported_mask_does_what_its_score_does(
    recorded: str, run_options: list[str], tmp_path: Path
) -> None:
    masks = str(tmp_path / "x.mask.json")
    query.export(vxstore.open(recorded), masks)
    assert main(["evaluate", *run_options]) == 0
    options = [*run_options, "--evaluate.name", "masked", "--evaluate.masks", masks]
    assert main(["evaluate", *options]) == 0
    store = vxstore.open(recorded)
    choice, masked = (store.evaluation(name).load() for name in ("choice", "masked"))
    assert choice.masked.values.any()
    np.testing.assert_array_equal(masked.masked, choice.masked)
    np.testing.assert_array_equal(masked.log_odds, choice.log_odds)
    assert masked.attrs["settings"]["masks"] == masks
    assert "masks" not in choice.attrs["settings"]


def test_what_the_file_holds_is_what_goes_off(
    recorded: str,
    run_options: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    file, moved = tmp_path / "x.mask.json", tmp_path / "moved.json"
    content = query.mask(vxstore.open(recorded))
    for by_language in content["masks"].values():
        by_language.update({"en": {"1": [3, 7]}, "zh": {}})
    file.write_text(json.dumps(content))
    options = [*run_options, "--evaluate.masks"]
    assert main(["evaluate", *options, str(file)]) == 0
    found = vxstore.open(recorded).evaluation("choice").load()
    for kind, masked_LNG in zip(found.kind.values, found.masked.values, strict=True):
        off = [tuple(at) for at in np.argwhere(masked_LNG).tolist()]
        if kind == "mask":
            assert off == [(1, 3, 0), (1, 7, 0)]
        elif kind == "control":
            assert [at[0] for at in off] == [1, 1]
            assert not {3, 7} & {at[1] for at in off}
        else:
            assert off == []
    file.rename(moved)
    capsys.readouterr()
    assert main(["evaluate", *options, str(moved)]) == 0  # another place, the same masks
    assert "no model work" in capsys.readouterr().out
    content["masks"]["thrift"]["en"] = {"1": [3]}
    moved.write_text(json.dumps(content))
    assert main(["evaluate", *options, str(moved)]) == 2
    assert "selection_digest is" in capsys.readouterr().err
    assert main(["evaluate", *options, str(file)]) == 2
    assert f"evaluate.masks: there is no file {file}" in capsys.readouterr().err

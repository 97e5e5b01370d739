"""docs/python.md: every example runs, one after the other, as in a notebook."""

import re
from pathlib import Path
from typing import Any

import pytest

import vxdist
import vxstore

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


def test_the_examples_run(
    long_model_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pytest.importorskip("matplotlib").use("agg")
    monkeypatch.chdir(ROOT)
    store, names = str(tmp_path / "python.zarr"), {}
    overrides = f'"store": "{store}", "model.path": "{long_model_folder}"'
    overrides += ', "evaluate.least_mass": 0'  # its weights are random
    for block in BLOCKS:
        code = block.replace('"store": "runs/python.zarr"', overrides)
        code = code.replace("runs/python.zarr", store)
        code = code.replace('"neurons.csv"', repr(str(tmp_path / "neurons.csv")))
        exec(compile(code, "docs/python.md", "exec"), names)
    assert capsys.readouterr().out == ""  # nothing is printed unless asked for
    made: Any = names
    assert made["page"].is_file()
    assert made["selected"].dims == ("layer", "language")
    assert set(made["effect"].data_vars) >= {"mean_shift", "p_value"}
    assert (tmp_path / "neurons.csv").is_file()


def test_what_is_asked_for_is_printed(
    run_options: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = dict(zip([o[2:] for o in run_options[::2]], run_options[1::2], strict=True))
    config = vxdist.load_config(None, settings)
    store = vxdist.locate(config, verbose=True)
    assert store.complete
    assert "parts, " in capsys.readouterr().out
    assert vxdist.reduce(config).selected.any()
    assert capsys.readouterr().out == ""


def test_a_stage_takes_the_lock(run_options: list[str], tmp_path: Path) -> None:
    from vxstore.io.lock import hold

    settings = dict(zip([o[2:] for o in run_options[::2]], run_options[1::2], strict=True))
    config = vxdist.load_config(None, settings)
    with hold(config.store), pytest.raises(vxstore.UserError, match="is being written"):
        vxdist.locate(config)
    assert not Path(config.store).exists()


def test_mistakes_are_one_line_and_name_the_key(tmp_path: Path) -> None:
    with pytest.raises(vxstore.UserError, match=r"--reduce.vape.top_fractio is not known"):
        vxdist.load_config(None, {"store": "x.zarr", "reduce.vape.top_fractio": 0.1})
    with pytest.raises(vxstore.UserError, match="store: not given"):
        vxdist.reduce(vxdist.Config())
    with pytest.raises(vxstore.UserError, match=r"evaluate\.prompts is called evaluate\.choice"):
        vxdist.load_config(None, {"store": "x.zarr", "evaluate.prompts": {"en": "?"}})


def test_what_is_public_is_on_the_page() -> None:
    for module in (vxdist, vxstore):
        for name in module.__all__:
            assert callable(getattr(module, name))
            assert re.search(rf"\b{name}\b", PAGE), f"{module.__name__}.{name}"

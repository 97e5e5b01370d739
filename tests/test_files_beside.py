"""Files beside a store that are the user's stay as they are."""

from pathlib import Path

import pytest

from vxdist.config import Config, ReportConfig
from vxdist.errors import UserError
from vxdist.report.checks import check_inputs, report_path
from vxdist.saved_settings import save_settings


def config_of(tmp_path: Path, top_neurons: int = 5) -> Config:
    store = str(tmp_path / "exp1.zarr")
    return Config(store=store, report=ReportConfig(top_neurons=top_neurons))


def test_settings_of_a_later_run_replace_what_vxdist_saved(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "exp1.yaml"
    for number in (5, 6, 7):
        save_settings(config_of(tmp_path, number), "report")
        assert f"top_neurons: {number}\n" in file.read_text()
    assert not capsys.readouterr().err


NOTES = ("# my notes\nseed 7 was better", "model: {path: x}\n", "- 1\n", "{{", b"\xff\xfe")


@pytest.mark.parametrize("notes", NOTES)
def test_a_yaml_file_of_the_user(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], notes: str | bytes
) -> None:
    file = tmp_path / "exp1.yaml"
    file.write_bytes(notes.encode() if isinstance(notes, str) else notes)
    before = file.read_bytes()
    save_settings(config_of(tmp_path), "report")
    assert file.read_bytes() == before
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("warning: exp1.yaml is not as vxdist writes it")


def test_notes_in_a_file_that_vxdist_saved(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_settings(config_of(tmp_path), "report")
    file = tmp_path / "exp1.yaml"
    file.write_text(file.read_text() + "# seed 7 was better\n")
    save_settings(config_of(tmp_path, 6), "report")
    assert file.read_text().endswith("# seed 7 was better\n")
    assert "top_neurons: 5" in file.read_text()
    assert "left as it is" in capsys.readouterr().err


def test_a_page_of_the_user(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    check_inputs(config, None, ["report"])
    page = report_path(config)
    page.write_text("<!DOCTYPE html><title>my notes</title>")
    with pytest.raises(UserError, match="is no report of vxdist; name another file") as caught:
        check_inputs(config, None, ["report"])
    assert "\n" not in str(caught.value)
    page.write_text('<!DOCTYPE html>\n<meta name="generator" content="vxdist 1.0">')
    check_inputs(config, None, ["report"])

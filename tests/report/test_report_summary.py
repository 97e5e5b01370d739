"""What `vxdist run` prints at its end."""

import subprocess
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from vxdist.config import Config
from vxdist.report.summary import print_summary

if TYPE_CHECKING:
    from conftest import StoreMaker

MakeConfig = Callable[..., Config]


def printed(config: Config, capsys: pytest.CaptureFixture[str]) -> list[str]:
    print_summary(config)
    return [line.rstrip() for line in capsys.readouterr().out.splitlines()]


def test_fits_80_columns_and_shows_the_effects(
    maker: "StoreMaker", make_config: MakeConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    maker.values = ("kindness", "a value with a name far too long for a column", "thrift")
    lines = printed(make_config(maker.write()), capsys)
    table = [line for line in lines if not line.startswith(("store:", "report:"))]
    assert max(map(len, table)) <= 80
    row = next(line for line in lines if line.startswith("kindness"))
    assert row.split()[:4] == ["kindness", "en", "8", "L1/N7"]
    assert row.endswith("  0% <0.01")
    assert f"store:  {maker.path}" in lines
    assert f"report: {maker.path.removesuffix('.zarr')}.html" in lines


def test_neurons_of_experts_fit_too(
    maker: "StoreMaker", make_config: MakeConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    maker.layers, maker.experts, maker.neurons, maker.evaluate = 32, 128, 128 * 2, False
    lines = printed(make_config(maker.write()), capsys)
    row = next(line for line in lines if line.startswith("kindness"))
    assert row.split()[3:] == ["L1/E127/U1", "L1/E127/U0", "L1/E126/U1"]
    assert max(len(line) for line in lines if not line.startswith(("store:", "report:"))) <= 80


def test_works_without_an_evaluation(
    maker: "StoreMaker", make_config: MakeConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    maker.evaluate = False
    text = "\n".join(printed(make_config(maker.write()), capsys))
    assert "L1/N7 L1/N6" in text
    assert "The store has no finished evaluation yet" in text


def test_names_cannot_steer_the_terminal(
    maker: "StoreMaker", make_config: MakeConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    maker.values = ("\x1b[31mred", "[bold]thick[/bold]", "thrift")
    text = "\n".join(printed(make_config(maker.write()), capsys))
    assert "\x1b" not in text
    assert "[bold]thick" in text


def test_imports_no_torch_and_no_other_stage() -> None:
    code = (
        "import sys, vxdist.report.summary\n"
        "stages = [f'vxdist.{name}.stage' for name in ('locate', 'reduce', 'evaluate')]\n"
        "bad = ('torch', 'lightning', *stages)\n"
        "sys.exit(','.join(m for m in bad if m in sys.modules) or 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)

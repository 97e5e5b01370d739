"""The page in a browser, where one is installed: is it drawn, and does it fit?"""

import html
import itertools
import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from vxdist.config import Config
from vxdist.output import Output
from vxdist.report.stage import run

if TYPE_CHECKING:
    from conftest import StoreMaker

HOSTILE = "<script>alert(1)</script>"

BROWSER = (
    shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
)
pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium installed")

PROBE = """
<script>
window.alerted = false; window.alert = function () { window.alerted = true; };
addEventListener("load", function () {
  function cells(selector) {
    return Array.from(document.querySelectorAll(selector)).map(function (cell) {
      var box = cell.getBoundingClientRect(), style = getComputedStyle(cell);
      return {left: box.left, top: box.top, width: box.width, height: box.height,
              tip: cell.dataset.tip, text: cell.textContent,
              paint: style.backgroundColor + style.backgroundImage};
    });
  }
  var cell = document.querySelector(".effects td[data-tip]");
  if (cell) cell.dispatchEvent(new MouseEvent("mouseover", {bubbles: true}));
  var tip = document.querySelector(".tip"), out = document.createElement("pre");
  out.id = "probe";
  out.textContent = JSON.stringify({
    layers: cells(".layers tbody td[data-tip]"), effects: cells(".effects td[data-tip]"),
    marks: cells(".own-effects circle.mean"), tip: tip && !tip.hidden ? tip.textContent : null,
    ticks: cells(".layers .ticks td b"), histograms: cells("svg.histogram"),
    page: document.documentElement.scrollWidth, window: window.innerWidth,
    alerted: window.alerted});
  document.body.appendChild(out);
});
</script>
"""
FRAME = """<!DOCTYPE html>
<body style="margin: 0"><script>
addEventListener("load", function () {
  var inner = document.querySelector("iframe").contentDocument.getElementById("probe");
  document.body.appendChild(document.importNode(inner, true));
});
</script>
<iframe style="border: 0; width: WIDTHpx; height: 1000px" srcdoc="PAGE"></iframe>
"""
"""A page in a frame: the window itself is at least 500 pixels wide."""


def chromium(tmp_path: Path, page: Path, *options: str) -> str:
    """Run the browser on a page; returns what it prints."""
    assert BROWSER is not None
    command = [
        BROWSER,
        *("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--hide-scrollbars"),
        *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
        f"--user-data-dir={tmp_path / 'profile'}",
        "--virtual-time-budget=5000",
        *options,
        page.as_uri(),
    ]
    done = subprocess.run(command, capture_output=True, timeout=120, check=True)
    return done.stdout.decode("utf-8")


def probe(tmp_path: Path, page: Path, width: int) -> dict[str, Any]:
    """What the browser made of the page. The policy that bars other scripts is lifted for it."""
    source = page.read_text(encoding="utf-8")
    source = re.sub(r"<meta http-equiv=.Content-Security-Policy.[^>]*>", PROBE, source)
    probed = tmp_path / "probed.html"
    if width < 500:
        framed = FRAME.replace("WIDTH", str(width)).replace("PAGE", html.escape(source))
        source = framed
    probed.write_text(source, encoding="utf-8")
    dom = chromium(tmp_path, probed, "--dump-dom", f"--window-size={width},1000")
    found = re.search(r'<pre id="probe">(.*?)</pre>', dom, re.DOTALL)
    assert found is not None
    return dict(json.loads(html.unescape(found[1])))


@pytest.fixture
def page(maker: "StoreMaker", make_config: Callable[..., Config], tmp_path: Path) -> Path:
    """The report of a small store."""
    run(make_config(maker.write()), Output())
    return tmp_path / "tiny.html"


@pytest.mark.parametrize("width", [1200, 500, 390])
def test_figures_are_drawn_and_fit(page: Path, tmp_path: Path, width: int) -> None:
    seen = probe(tmp_path, page, width)
    assert len(seen["layers"]) == 3 * 3 * 3
    assert len(seen["effects"]) == 3 * 3 * 2
    assert len(seen["marks"]) == 3 * 2
    for cell in (*seen["layers"], *seen["effects"]):
        assert cell["width"] >= 4
        assert cell["height"] >= 16
    by_count = {cell["text"]: cell["paint"] for cell in seen["layers"]}
    assert set(by_count) == {"0", "1", "8"}
    assert len(set(by_count.values())) == 3
    assert len({cell["paint"] for cell in seen["effects"]}) > 3
    assert seen["tip"] == seen["effects"][0]["tip"]
    assert seen["page"] <= seen["window"]


@pytest.mark.parametrize("width", [1200, 390])
def test_claims_are_drawn_and_fit(
    maker: "StoreMaker",
    make_config: Callable[..., Config],
    add_tests: Callable[..., dict[str, Any]],
    tmp_path: Path,
    width: int,
) -> None:
    maker.evaluate = False
    add_tests(maker.write())
    run(make_config(maker.path), Output())
    seen = probe(tmp_path, tmp_path / "tiny.html", width)
    assert len(seen["histograms"]) == 2 * 3
    for drawn in seen["histograms"]:
        assert 200 <= drawn["width"] <= width
        assert drawn["height"] >= 80
    assert seen["page"] <= seen["window"]


@pytest.mark.parametrize("width", [1200, 390])
def test_layer_numbers_do_not_collide(
    maker: "StoreMaker", make_config: Callable[..., Config], tmp_path: Path, width: int
) -> None:
    maker.layers, maker.evaluate = 30, False
    run(make_config(maker.write()), Output())
    seen = probe(tmp_path, tmp_path / "tiny.html", width)
    shown = [tick for tick in seen["ticks"] if tick["width"]]
    rows = {tick["top"]: [t for t in shown if t["top"] == tick["top"]] for tick in shown}
    assert len(rows) == 3
    for row in rows.values():
        assert len(row) >= 8
        middles = [tick["left"] + tick["width"] / 2 for tick in row]
        # Two digits of 12 pixels are 15 wide; the boxes around them are wider.
        assert min(b - a for a, b in itertools.pairwise(middles)) >= 18


def test_hostile_names_run_nothing(page: Path, tmp_path: Path) -> None:
    seen = probe(tmp_path, page, 1200)
    assert seen["alerted"] is False
    assert any(HOSTILE in cell["tip"] for cell in seen["effects"])


def test_the_page_runs_its_own_script_under_its_policy(page: Path, tmp_path: Path) -> None:
    dom = chromium(tmp_path, page, "--dump-dom")
    assert '<html lang="en" class="scripted">' in dom


def test_makes_a_picture(page: Path, tmp_path: Path) -> None:
    picture = tmp_path / "page.png"
    chromium(tmp_path, page, f"--screenshot={picture}", "--window-size=1200,2000")
    assert picture.stat().st_size > 50_000

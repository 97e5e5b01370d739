"""What the page says can be claimed: levels, what shuffled labels give, and topic."""

import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import vxstore
from vxdist.config import Config
from vxdist.output import Output
from vxdist.report.sections import claims
from vxdist.report.sections.histogram import make_histogram
from vxdist.report.stage import report_path, run
from vxdist.report.summary import print_summary
from vxstore import query
from vxstore.query.evidence import Evidence

if TYPE_CHECKING:
    from conftest import StoreMaker

MakeConfig = Callable[..., Config]
AddTests = Callable[..., dict[str, Any]]
TOPIC = "Settings distinguish stories at least as well as values: most of these neurons"


class Section(HTMLParser):
    """The section `claims` of a page: its text, and the cells of its rows."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.text = ""
        inside = re.search(r'<section id="claims".*?</section>', source, re.DOTALL)
        assert inside is not None
        self.source = inside[0]
        self.feed(self.source)
        self.text = " ".join(self.text.split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "tr":
            self.rows.append([])
        if tag in ("th", "td") and self.rows:
            self.rows[-1].append("")

    def handle_data(self, data: str) -> None:
        self.text += f" {data}"
        if self.rows and self.rows[-1]:
            self.rows[-1][-1] += data.strip()


@pytest.fixture
def draw(make_config: MakeConfig) -> Callable[[str], tuple[Section, str]]:
    """Write the page of a store; returns its section, and the page."""

    def draw(path: str) -> tuple[Section, str]:
        config = make_config(path)
        run(config, Output(shown=False))
        page = report_path(config).read_text(encoding="utf-8")
        return Section(page), page

    return draw


Draw = Callable[[str], tuple[Section, str]]


def test_levels_are_those_of_the_store(
    maker: "StoreMaker", draw: Draw, add_tests: AddTests
) -> None:
    maker.evaluate = False
    add_tests(maker.write())
    section, page = draw(maker.path)
    for language in ("en", "zh", "pooled"):
        levels = query.null(vxstore.open(maker.path))["levels"]
        expected = levels[levels.language == language].to_dict("records")
        at = [n for n, row in enumerate(section.rows) if row[:1] == ["0 listed"]]
        found = section.rows[at[("en", "zh", "pooled").index(language)] :][:5]
        assert [row[0] for row in found] == [f"{row['level']} {row['claim']}" for row in expected]
        for cells, row in zip(found, expected, strict=True):
            if row["calibrated"] != "not tested":
                assert cells[2:4] == [f"{row['neurons']:,.0f}", f"{row['assignments']:,.0f}"]
        assert found[1][4:7] == ["0.25", "11", "9.0% ± 2.0%"]
        assert found[1][7] == ("33,414" if language == "en" else "12")
        assert found[0][4] == "–"  # what was shuffled is another list than what is selected
    assert "more active in the value’s stories than in the others’" in section.text
    assert f"{TOPIC} follow topic (33,414 findings" in section.text
    assert "Values distinguish stories more often than settings do" in section.text
    assert "F = 7.8" in section.text
    assert "level 1 supports 556 of 2,265 assignments" in section.text
    assert "Level 4 stance is not tested: fewer than 6 clusters of both" in section.text
    # The head of the page says it too, before anything else is shown; the section stands before
    # the neurons selected.
    assert page.index(TOPIC) < page.index("<dl") < page.index('<section id="claims"')
    assert page.index('<section id="claims"') < page.index('<section id="selection"')


def test_sentences_are_those_of_the_command(
    maker: "StoreMaker", draw: Draw, add_tests: AddTests
) -> None:
    maker.evaluate = False
    add_tests(maker.write())
    section, _ = draw(maker.path)
    said = query.null(vxstore.open(maker.path))["sentences"]["en"]
    for name in ("list", "stability"):
        assert said[name] in section.text


def test_histograms(maker: "StoreMaker", draw: Draw, add_tests: AddTests) -> None:
    maker.evaluate = False
    add_tests(maker.write())
    section, page = draw(maker.path)
    assert section.source.count('<svg class="histogram"') == 2 * 3
    assert section.source.count('role="img"') == 2 * 3
    assert ["-4", "-2", "5", "1.5"] in section.rows
    assert "<script" not in section.source
    assert len(page) < 150_000


def test_bars_and_steps_by_hand() -> None:
    drawn = make_histogram("t", {"edges": [0, 1, 3], "observed": [0, 9], "shuffled": [9, 0]})
    assert drawn is not None
    third = round(320 / 3, 1)
    assert drawn.bars == f"M0.0 110V110.0H{third}V110ZM{third} 110V0.0H320.0V110Z"
    assert drawn.line == f"M0 110V0.0H{third}V110.0H320.0V110"
    assert drawn.rows == (("0", "1", "0", "9.0"), ("1", "3", "9", "0.0"))
    narrow = {"edges": [0, 1e-6, 1e-3, 1, 2], "observed": [1, 2, 3, 0], "shuffled": [1, 2, 3, 0]}
    even = make_histogram("t", narrow)  # without the empty end, and all equally wide
    assert even is not None
    assert re.findall(r"H([\d.]+)", even.bars) == ["106.7", "213.3", "320.0"]
    assert [label for _, _, label in even.ticks] == ["0", "0.001", "1"]
    many = {"edges": list(range(102)), "observed": [1] * 101, "shuffled": [2.0] * 101}
    merged = make_histogram("t", many)
    assert merged is not None
    assert [row[2] for row in merged.rows] == ["4"] * 25 + ["1"]
    for bad in ({"edges": [0, 1]}, {"edges": [1, 0, 2]}, {"observed": [1, "x"]}, {"shuffled": [1]},
                {"observed": [-1, 2]}, {"edges": 3}, {"observed": [0, 0], "shuffled": [0, 0]},
                {"edges": [0, 1, 1e999]}):  # fmt: skip
        facts = {"edges": [0, 1, 2], "observed": [1, 2], "shuffled": [1, 2], **bad}
        assert make_histogram("t", facts) is None, bad


def test_levels_of_top_neurons(maker: "StoreMaker", draw: Draw, add_tests: AddTests) -> None:
    maker.evaluate = False
    add_tests(maker.write(), seed=2)
    _, page = draw(maker.path)
    top = query.top(vxstore.open(maker.path), value="kindness", language="en", k=2)
    for row in top.to_dict("records"):
        name = f"L{row['layer']}/N{row['neuron']}"
        assert re.search(rf">{name}</th>.*<td class=\"n\">{row['level']} {row['claim']}</td>", page)


def test_untested_scores_say_why(maker: "StoreMaker", draw: Draw, add_tests: AddTests) -> None:
    maker.evaluate = False
    section, page = draw(maker.write())
    said = (
        "These neurons are untested: the score was made by an earlier vxdist, or by other software;"
    )
    assert section.text.count(said) == 1
    assert not section.rows
    assert ">0 listed</td>" in page
    reason = {"untested": "fewer than 6 clusters of thrift"}
    add_tests(maker.path, attrs={"tests": dict.fromkeys(("en", "zh", "pooled"), reason)})
    section, _ = draw(maker.path)
    assert "These neurons are untested: fewer than 6 clusters of thrift." in section.text
    add_tests(maker.path, attrs={"tests": {"zh": reason, "pooled": reason, "en": {"found": {}}}})
    section, _ = draw(maker.path)
    assert "zh, pooled: These neurons are untested: fewer than 6" in section.text
    assert sum(row[:1] == ["0 listed"] for row in section.rows) == 1


def test_without_a_null_it_says_so(maker: "StoreMaker", draw: Draw, add_tests: AddTests) -> None:
    maker.evaluate = False
    add_tests(maker.write(), attrs={"null": {}})
    section, _ = draw(maker.path)
    assert section.text.count("No null was computed.") == 3
    assert "<svg class" not in section.source


@pytest.mark.parametrize("has_tests", [False, True])
@pytest.mark.parametrize("by_value", [False, True])
def test_a_score_of_any_selector(
    maker: "StoreMaker", draw: Draw, add_tests: AddTests, has_tests: bool, by_value: bool
) -> None:
    maker.reduce = maker.evaluate = False
    maker.write()
    shape = (maker.layers, maker.neurons, len(maker.values), len(maker.languages))
    number = np.random.default_rng(4).normal(size=shape if by_value else (*shape[:2], 2))
    maker.add_score("own", number, np.ones(shape, dtype=bool))
    if has_tests:
        add_tests(maker.path, "own")
    section, page = draw(maker.path)
    assert ("1 differs" in section.text) == has_tests
    assert not re.search("vape|entropy, of", section.text, re.IGNORECASE) or has_tests
    assert "listed" in page


def test_hostile_facts_are_escaped_and_steer_nothing(
    maker: "StoreMaker", draw: Draw, add_tests: AddTests, make_config: MakeConfig,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    maker.evaluate = False
    add_tests(maker.write())
    file = Path(maker.path) / "scores/vape/zarr.json"
    evil = "<img src=x onerror='x'>\x1b[2J"
    doc = json.loads(file.read_text())
    for claim in doc["attributes"]["claims"]:
        claim["name"] += evil
    for of in doc["attributes"]["tests"].values():
        of["absent"] = {"q_beyond": evil}
    for of in doc["attributes"]["null"].values():
        of |= {"topic": None, "topic_absent": evil, "histograms": {"t": {"edges": evil}}}
    attrs = {name: doc["attributes"][name] for name in ("claims", "tests", "null")}
    add_tests(maker.path, attrs=attrs)
    _, page = draw(maker.path)
    assert "<img" not in page
    capsys.readouterr()
    print_summary(make_config(maker.path))
    assert "\x1b" not in capsys.readouterr().out


def test_nobody_is_called_a_value_neuron() -> None:
    """A neuron is called by the level of what can be claimed of it."""
    root = Path(__file__).parents[2]
    files = [
        file
        for folder in ("vxdist/report", "store/vxstore")
        for file in (root / folder).rglob("*")
        if file.suffix in (".py", ".j2")
    ]
    assert len(files) > 40
    for file in files:
        assert not re.search(r"value[- ]neuron", file.read_text(encoding="utf-8"), re.I), file


def test_the_terminal_says_it_too(
    maker: "StoreMaker", make_config: MakeConfig, add_tests: AddTests,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    add_tests(maker.write())
    print_summary(make_config(maker.path))
    printed = capsys.readouterr().out
    assert f"{TOPIC} follow topic" in " ".join(printed.split())
    assert max(len(x) for x in printed.splitlines() if not x.startswith(("store", "repo"))) <= 80


@pytest.mark.parametrize(("assignments", "shown"), [(3, "80 neurons"), (4, "–")])
def test_chance_is_of_the_list_that_is_selected(assignments: int, shown: str) -> None:
    """Of VAPE's own list it is told how much of it is chance; beside another's it would mislead."""
    of = Evidence(
        language="en",
        untested="",
        fdr=0.1,
        adjusted=(),
        levels=(),
        tests={},
        null={"vape": {"assignments": assignments, "below_cut_mean": 80.4}},
    )
    selection: Any = SimpleNamespace(neurons_S2=np.zeros((2, 2)), number_K=np.zeros(3))
    assert claims._listed(selection, of).numbers[2] == shown

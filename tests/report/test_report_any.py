"""The report of what is not VAPE, not letters and not zero ablation, and of earlier stores."""

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

import vxstore
from vxdist.config import Config
from vxdist.errors import UserError
from vxdist.output import Output
from vxdist.report import sections
from vxdist.report.content import Content, gather
from vxdist.report.elements import Caveat
from vxdist.report.notes import OutcomeNotes, SelectorNotes
from vxdist.report.stage import report_path, run
from vxdist.report.summary import print_summary

if TYPE_CHECKING:
    from conftest import Points, StoreMaker

MakeConfig = Callable[..., Config]


class Text(HTMLParser):
    """The text of a page, with single spaces; what is in table cells, one by one."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.pieces: list[str] = []
        self.feed(re.sub(r"<(style|script)>.*?</\1>", "", source, flags=re.DOTALL))

    def handle_data(self, data: str) -> None:
        self.pieces.append(data)

    @property
    def whole(self) -> str:
        return " ".join(" ".join(self.pieces).split())


def draw(config: Config, capsys: pytest.CaptureFixture[str]) -> tuple[Text, str]:
    """The page, and what the terminal says."""
    run(config, Output(shown=False))
    capsys.readouterr()
    print_summary(config)
    return Text(report_path(config).read_text(encoding="utf-8")), capsys.readouterr().out


def write_contrasts(maker: "StoreMaker", *, by_value: bool) -> None:
    """A store whose only score is one of contrasts, the highest first.

    Neurons 2 to 4 of layer 0 are selected for the second value, neuron 3 for the third too.
    """
    maker.reduce = maker.evaluate = False
    maker.write()
    shape = (maker.layers, maker.neurons, len(maker.values), len(maker.languages))
    contrast = np.random.default_rng(1).normal(size=shape)
    contrast[0, 2:5, 1] = np.array([[7.0], [9.0], [8.0]])
    contrast[0, 3, 2] = -4.0
    selected = np.zeros(shape, dtype=bool)
    selected[0, 2:5, 1] = selected[0, 3, 2] = True
    number = contrast if by_value else contrast[:, :, 1]
    maker.add_score("contrast", number, selected)


@pytest.mark.parametrize("by_value", [True, False])
def test_a_score_of_another_selector(
    maker: "StoreMaker",
    make_config: MakeConfig,
    capsys: pytest.CaptureFixture[str],
    by_value: bool,
) -> None:
    """No threshold, no setting, nothing pooled, the highest first."""
    maker.values = ("kindness", "candour", "thrift")
    write_contrasts(maker, by_value=by_value)
    page, printed = draw(make_config(maker.path), capsys)
    assert not re.search("entropy|pooled|vape", page.whole, re.IGNORECASE)
    assert (
        "Of 24 neurons, 3 (12.5%) in en and 3 (12.5%) in zh were selected by the score contrast, "
        "which ranks neurons by contrast, highest first." in page.whole
    )
    assert "contrast is the contrast between the value and the others" in page.whole
    assert "the selected neurons of highest contrast" in page.whole
    listed = [piece for piece in page.pieces if re.fullmatch(r"L\d/N\d", piece)]
    assert listed[:2] == ["L0/N3", "L0/N4"]
    at = page.pieces.index("L0/N3")
    row = [p for p in page.pieces[at + 1 :] if p.strip()][:4]
    root = vxstore.open(maker.path).root().load().isel(layer=0, neuron=3).sel(language="en")
    p = (root.active_count / root.token_count).values
    assert row == ["9.0000", f"{p[1]:.3f}", f"{(p[0] + p[2]) / 2:.3f}", "2"]
    third = [line for line in printed.splitlines() if line.startswith("thrift")]
    assert third[0].split() == ["thrift", "en", "1", "L0/N3"]
    assert "-4.0000" in page.whole.replace("−", "-") or not by_value


def test_a_score_that_names_no_selector(
    maker: "StoreMaker", make_config: MakeConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    """What declares how it ranks is not VAPE."""
    maker.reduce = maker.evaluate = False
    maker.write()
    shape = (maker.layers, maker.neurons, len(maker.values), len(maker.languages))
    maker.add_score("mine", np.ones(shape), np.ones(shape, dtype=bool), selector=None)
    page, _ = draw(make_config(maker.path), capsys)
    assert "were selected by the score mine, which ranks neurons by contrast" in page.whole
    assert not re.search("entropy|vape", page.whole, re.IGNORECASE)


def test_neurons_without_a_number_are_counted(maker: "StoreMaker", make_config: MakeConfig) -> None:
    maker.evaluate = False
    maker.write()
    shape = (maker.layers, maker.neurons, len(maker.values), 2)
    number, selected = np.ones(shape), np.zeros(shape, dtype=bool)
    number[0, 0, 0] = number[1, :2] = number[2, 0, :, 1] = np.nan
    maker.add_score("other", number, selected)
    config = make_config(maker.path)
    config.report.score = "other"
    found = [(s.ranked_count, s.unscored_count) for s in gather(config).score.selections]
    assert found == [(22, 2), (21, 3)]


def test_an_outcome_that_is_no_decision(
    maker: "StoreMaker",
    make_config: MakeConfig,
    points: "Points",
    capsys: pytest.CaptureFixture[str],
) -> None:
    maker.outcome = points
    page, printed = draw(make_config(maker.write()), capsys)
    assert "the mean change of the number of points for the value, in points." in page.whole
    assert "(outcome points): zero ablation, masks of 3 values" in page.whole
    assert not re.search("flip|letter|log-odds|option", page.whole)
    assert "3 of 3 masks move points more than their matched draws: " in page.whole
    assert "own effect, points" in printed
    assert "flips" not in printed
    assert "number of points for the value, in points" in " ".join(printed.split())


def test_other_interventions_are_named(
    maker: "StoreMaker", make_config: MakeConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    titles = {
        None: "Zero ablation is off-distribution",
        "mean": "What mean ablation puts in place",
        "double <b>": "What the intervention double <b> does to the model",
    }
    config = make_config(maker.write())
    for intervention, title in titles.items():
        if intervention is not None:
            shutil.rmtree(maker.path)
            maker.intervention = intervention
            maker.write()
        page, _ = draw(config, capsys)
        assert [title in page.whole for title in titles.values()] == [
            title == other for other in titles.values()
        ]
        assert "was not tried" not in page.whole
    assert "Effects of the intervention double <b>" in page.whole
    assert "were changed (the intervention double <b>), one value at a time" in page.whole


def test_effects_of_an_earlier_version(
    maker: "StoreMaker", make_config: MakeConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    maker.verdict = False
    page, printed = draw(make_config(maker.write()), capsys)
    said = (
        "n earlier vxdist measured these effects: each has a rank among its draws, and no p; "
        "vxdist evaluate with the same settings makes them, without model work."
    )
    assert page.whole.count(said) == 3
    assert said in " ".join(printed.replace("`", "").split())
    assert "above all 8" in page.pieces
    assert "a control draw" not in page.whole
    assert "not found" not in page.whole
    assert "8/8" in printed


class TestWhoseEffects:
    """Effects are shown unasked only beside the score whose neurons were ablated."""

    @pytest.fixture
    def config(self, maker: "StoreMaker", make_config: MakeConfig) -> Config:
        """A store of two scores; its evaluation is of vape."""
        maker.values = ("kindness", "candour", "thrift")
        maker.write()
        shape = (maker.layers, maker.neurons, len(maker.values), 2)
        everything = np.ones(shape, dtype=bool)
        maker.add_score("other", np.ones(shape), everything)
        return make_config(maker.path)

    def test_another_score_is_shown_without_them(
        self, config: Config, capsys: pytest.CaptureFixture[str]
    ) -> None:
        config.report.score = "other"
        page, printed = draw(config, capsys)
        said = (
            "The evaluation choice ablated neurons of the score vape, not of other, so its effects "
            "are not shown here; vxdist report --report.evaluation choice shows them."
        )
        assert said in page.whole
        assert said in " ".join(printed.replace("`", "").split())
        assert "Effect matrix" not in page.whole
        assert "nats" not in page.whole

    def test_on_request_with_a_caveat(
        self, config: Config, capsys: pytest.CaptureFixture[str]
    ) -> None:
        config.report.score, config.report.evaluation = "other", "choice"
        page, printed = draw(config, capsys)
        source = "came from the score vape, not from the score other, which the rest of this page"
        assert page.whole.count(source) == 2
        assert "The masks do not hold the neurons selected above" in page.whole
        assert "3 of 3 masks move choices" in page.whole
        assert source in " ".join(printed.split())

    def test_what_is_asked_for_alone_brings_the_other(self, config: Config) -> None:
        assert gather(config).score.name == "vape"
        config.report.evaluation = "choice"
        assert gather(config).score.name == "vape"
        config.report.evaluation, config.reduce.name = None, "other"
        content = gather(config)
        assert content.score.name == "other"
        assert content.evaluation is None

    def test_an_unknown_evaluation_is_refused(self, config: Config) -> None:
        config.report.evaluation = "choise"
        with pytest.raises(UserError, match=r"report.evaluation: .* 'choise'; it has choice"):
            gather(config)

    def test_the_only_evaluation_needs_no_name(self, config: Config) -> None:
        config.evaluate.outcome = "points"
        shown = gather(config).evaluation
        assert shown is not None
        assert shown.name == "choice"


def test_mask_files_are_named(
    maker: "StoreMaker", make_config: MakeConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    maker.settings = {"masks": "mine.mask.json"}
    page, _ = draw(make_config(maker.write()), capsys)
    assert page.whole.count("came from the mask file mine.mask.json, not from the score vape") == 2
    assert "masks of 3 values from the mask file mine.mask.json" in page.whole


def test_one_language_is_not_shown_twice(
    maker: "StoreMaker", make_config: MakeConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    maker.languages, maker.controls = ("en",), 1
    page, printed = draw(make_config(maker.write()), capsys)
    assert "pooled" not in page.whole.lower()
    assert "选择" not in page.whole
    assert "Choose" in page.whole
    assert "one scale for all languages" not in page.whole
    assert "1 of the at least 4 control draws" in page.whole
    assert not re.search(r"\b1 (control draws|draws|languages|values|neurons|cells)\b", page.whole)
    assert "all 1" not in page.whole + printed


def test_an_empty_mask_is_blank(
    maker: "StoreMaker", make_config: MakeConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    maker.values, maker.empty = ("kindness", "candour", "thrift"), ("thrift",)
    page, printed = draw(make_config(maker.write()), capsys)
    assert "No neuron was selected for thrift in en and thrift in zh." in page.whole
    rows = [line for line in printed.splitlines() if line.startswith("thrift")]
    assert all(row.split() == ["thrift", row.split()[1], "1", "L1/N0"] for row in rows)
    assert len(rows) == 2


def test_selectors_and_outcomes_may_speak_for_themselves(
    maker: "StoreMaker",
    make_config: MakeConfig,
    points: "Points",
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    maker.outcome = points
    maker.values = ("kindness", "candour", "thrift")
    maker.write()
    shape = (maker.layers, maker.neurons, len(maker.values), 2)
    maker.add_score("mine", np.ones(shape), np.ones(shape, dtype=bool))
    monkeypatch.setitem(sections.SELECTOR_NOTES, "contrast", f"{__name__}:own_selector_notes")
    monkeypatch.setitem(sections.OUTCOME_NOTES, "points", f"{__name__}:own_outcome_notes")
    config = make_config(maker.path)
    config.report.score, config.report.evaluation = "mine", "choice"
    page, _ = draw(config, capsys)
    for words in ("were selected for fun.", "Fun is not science", "Points are few: 3.0",
                  "Below zero is bad."):  # fmt: skip
        assert words in page.whole


def own_selector_notes(content: Content) -> SelectorNotes:
    caveat = Caveat(title="Fun is not science", text="Not at all.")
    return SelectorNotes(reason="for fun", ranking="fun is fun", caveats=(caveat,))


def own_outcome_notes(content: Content) -> OutcomeNotes:
    assert content.evaluation is not None
    few = float(content.evaluation.intact["score"].min())
    return OutcomeNotes(
        reading="Below zero is bad.", caveats=(Caveat(title="Few", text=f"Points are few: {few}"),)
    )


def test_drawn_with_the_base_install(maker: "StoreMaker", tmp_path: Path) -> None:
    """Without torch and what needs it, by the command."""
    maker.write()
    code = (
        "import sys\n"
        "class Missing:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.partition('.')[0] in sys.argv[1].split(','):\n"
        "            raise ModuleNotFoundError(f'No module named {name!r}', name=name)\n"
        "sys.meta_path.insert(0, Missing())\n"
        "from vxdist.cli import main\n"
        "sys.exit(main(sys.argv[2:]))\n"
    )
    missing = "torch,lightning,transformers,accelerate,gguf,safetensors,plotly,matplotlib,IPython"
    command = [sys.executable, "-c", code, missing, "report", "--store", maker.path]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "more than their matched draws" in (tmp_path / "tiny.html").read_text(encoding="utf-8")

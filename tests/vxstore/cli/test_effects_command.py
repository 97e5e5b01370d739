"""`vxstore effects`: evaluations side by side, and the dilemmas that flipped, with their texts."""

import csv
import io
import json
import math
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vxstore
from vxdist.evaluate.attributed import Predictions
from vxstore import query
from vxstore.io import arrays
from vxstore.io.metadata import commit
from vxstore.warrant import why_none, why_not

MakeStore = Callable[..., str]
AddEffects = Callable[..., None]
Ask = Callable[..., str]
TEXT = "A \x1b[31mstranger\x1b[0m asks you\nwhat the time is. " + "很长的一段话" * 20
EARLIER_VERDICT = {
    "cells": 8,
    "passed": 2,
    "passed_own": 2,
    "placebo": [7, 7],
    "placebo_own": [3, 3],
    "beyond_controls": False,
}
HEAVY = ("torch", "lightning", "transformers")


@pytest.fixture(scope="module")
def evaluated(make_store: MakeStore, add_effects: AddEffects) -> str:
    """A store with the evaluations `choice` and, half as strong, `half`. For reading only."""
    path = make_store()
    add_effects(path, controls=4)
    add_effects(path, "half", shifts=(-0.625, 0.25), controls=4)
    return path


@pytest.fixture(scope="module")
def other(make_store: MakeStore, add_effects: AddEffects, run_attrs: dict[str, Any]) -> str:
    """The same of another model and other values. For reading only."""
    attrs = {**run_attrs, "model": "giant", "model_fingerprint": "f1"}
    path = make_store(attrs=attrs)
    add_effects(path, masks=("zeal", "thrift"), controls=0)
    return path


def find_row(out: str, mask: str, value: str) -> str:
    """The numbers of the first row of a mask and a value, with single spaces."""
    row = re.search(rf"^{mask} +{value} +(.*?) *$", out, re.M)
    assert row is not None
    return " ".join(row[1].split())


@pytest.fixture
def corpus(tmp_path: Path) -> str:
    """A corpus with the text of the dilemma that the first mask flips."""
    row = {"id": "calm-e1-zh", "value": "calm", "language": "zh", "dilemma": TEXT}
    row |= {"aligned": "I wait.", "violating": "I shout."}
    (tmp_path / "evaluation.jsonl").write_text(json.dumps(row), encoding="utf-8")
    return str(tmp_path)


class TestTable:
    def test_one_evaluation(self, ask: Ask, evaluated: str) -> None:
        out = ask("effects", evaluated)
        assert out.startswith(f"{evaluated}, evaluation/choice, model tiny\n")
        told = " ".join(out.split())
        assert "shifts of log_odds in nats, 95% intervals; control draws of each mask: 4" in told
        assert (
            "verdict: 1 of 2 masks moves choices more than its matched draws: calm zh (-1, q 0.03)."
            " Each has level 5 causal. Not known to be selective: calm zh (not tested against "
            "other values). Control draws put in their mask's place have p <= 0.05 in 0.0% of 16 "
            "cases (5% expected). p below 0.01 comes from the law of t"
        ) in told
        zh, en = re.split(r"\nen\n", out.partition("\nzh\n")[2])
        shown = "-1.00 [-1.00,-1.00] 50%[9,91] 0.00+-0.14 <0.01 0.03 -"
        assert find_row(zh, "calm", "calm") == shown
        shown = "+0.50 [+0.50,+0.50] 50%[9,91] 0.00+-0.14 0.05 0.11 -"
        assert find_row(en, "zeal", "zeal") == shown
        shown = "0.00 [0.00,0.00] 0%[0,66] 0.00+-0.14 1.00 1.00 -"
        assert find_row(en, "calm", "zeal") == shown
        tables = out.partition("\nzh\n")[2]
        assert max(map(len, tables.splitlines())) <= 80

    def test_what_is_not_found_is_dim(self, evaluated: str) -> None:
        code = "import sys; from vxstore.cli.main import main; main(['effects', sys.argv[1]])"
        shown = subprocess.run(
            [sys.executable, "-c", code, evaluated],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "FORCE_COLOR": "1", "COLUMNS": "100"},
        ).stdout
        plain = {line: re.sub(r"\x1b\[[0-9;]*m", "", line) for line in shown.splitlines()}
        rows = [line for line, text in plain.items() if re.match(r"(calm|zeal) +(calm|zeal)", text)]
        assert ["\x1b[2m" in row for row in rows] == [False, *[True] * 7]

    def test_several_side_by_side(self, ask: Ask, evaluated: str) -> None:
        asked = ("--evaluation", "choice", "--evaluation", "half", "--own", "--language", "zh")
        out = ask("effects", evaluated, *asked)
        assert f"A: {evaluated}, evaluation/choice, model tiny" in out
        assert f"B: {evaluated}, evaluation/half, model tiny" in out
        shown = "-1.00 [-1.00,-1.00] 50%[9,91] 0.00+-0.14 <0.01 0.03 - "
        shown += "-0.62 [-0.62,-0.62] 50%[9,91] 0.00+-0.14 0.03 0.12 -"
        assert find_row(out, "calm", "calm") == shown

    def test_two_stores_of_two_models(self, ask: Ask, evaluated: str, other: str) -> None:
        out = ask("effects", evaluated, other, "--language", "en", "--own")
        assert f"A: {evaluated}, evaluation/choice, model tiny" in out
        assert f"B: {other}, evaluation/choice, model giant" in out
        missing = ["-"] * 7
        assert find_row(out, "calm", "calm").split()[7:] == missing  # not evaluated there
        assert find_row(out, "thrift", "thrift").split()[:7] == missing
        shown = "0.000 [0.000,0.000] 0%[0,66] - - - -"
        assert find_row(out, "zeal", "zeal").endswith(shown)
        assert "No p was computed: 0 of the at least 4 control draws" in " ".join(out.split())

    @pytest.mark.parametrize("verdict", [None, EARLIER_VERDICT])
    def test_an_earlier_store(
        self,
        ask: Ask,
        make_store: MakeStore,
        add_effects: AddEffects,
        forget_verdict: Callable[..., None],
        verdict: dict[str, Any] | None,
    ) -> None:
        path = make_store()
        add_effects(path)
        forget_verdict(path, verdict)
        out = ask("effects", path)
        told = " ".join(out.split())
        assert "each has a rank among its draws, and no p" in told
        assert "level 5" not in told
        assert ("2 of 8 cells were outside all their draws" in told) == (verdict is not None)
        assert find_row(out, "calm", "calm") == "-1.00 [-1.00,-1.00] 50% 0.00 0/2"
        found = json.loads(ask("effects", path, "--format", "json"))[0]
        assert found["verdict"] == verdict
        assert found["cells"][0]["p_value"] is None


@pytest.fixture(scope="module")
def predicted(make_store: MakeStore, add_effects: AddEffects) -> str:
    """A store whose first cell is predicted as it was measured, and others wrongly: in turn with
    the sign changed, three times too far, and all alike. For reading only."""
    path, controls = make_store(), 8
    draw_MVGK = np.broadcast_to(0.125 * (-1) ** (1 + np.arange(controls)), (2, 2, 2, controls))
    draw_MVGK = draw_MVGK * np.array([[[1, -1], [3, 0]], [[1, 1], [1, 1]]])[..., None]
    set_MVGR = np.random.default_rng(0).normal(0, 0.1, (2, 2, 2, 10_000))
    of = Predictions(name="choice-all", draw_MVGK=draw_MVGK, set_MVGR=set_MVGR)
    add_effects(path, controls=controls, predictions=of)
    return path


class TestMatchedSets:
    def test_p_where_it_is_warranted_and_why_not_elsewhere(self, ask: Ask, predicted: str) -> None:
        out = ask("effects", predicted)
        told, tables = out.split("among matched sets\n")
        assert "No p among matched sets" not in told
        assert (
            "attribution/choice-all predicts the shifts of 10,000 matched sets for each mask, and "
            "is warranted in 5 of 8 cells. p sets: of the shift among these sets; given where, over"
        ) in " ".join(tables.split())
        zh, en = re.split(r"\nen\n", tables.partition("\nzh\n")[2])
        assert find_row(zh, "calm", "calm") == "-1.00 <0.01 0.0001 1.00 1.00"
        assert find_row(en, "calm", "calm") == "0.00 1.00 - -1.00 -1.00 r -1.00, 0.8 needed"
        why = "slope 0.33, 0.7 to 1.3 needed"
        assert find_row(zh, "calm", "zeal") == f"0.00 1.00 - 1.00 0.33 {why}"
        assert find_row(en, "calm", "zeal") == "0.00 1.00 - - - the draws do not differ"
        assert max(map(len, tables.splitlines())) <= 80

    def test_json_has_the_same(self, ask: Ask, predicted: str) -> None:
        told = json.loads(ask("effects", predicted, "--format", "json"))[0]
        assert told["unwarranted"] is None
        warrant = {"attribution": "choice-all", "sets": 10_000, "cells": 8, "warranted": 5}
        assert told["warrant"] == warrant
        assert told["cells"][0]["p_attributed"] == pytest.approx(1 / 10_001)
        assert told["cells"][1]["p_attributed"] is None

    def test_a_mask_without_a_neuron_is_no_cell(
        self, ask: Ask, make_store: MakeStore, add_effects: AddEffects
    ) -> None:
        path = make_store()
        shape = (2, 2, 2, 8)
        of = Predictions(
            name="choice-all",
            draw_MVGK=np.broadcast_to(0.125 * (-1) ** (1 + np.arange(8)), shape),
            set_MVGR=np.zeros(shape),
        )
        add_effects(path, controls=8, predictions=of, empty=("zeal",))
        out = ask("effects", path)
        assert "is warranted in 4 of 4 cells" in " ".join(out.split())
        tables = out.partition("among matched sets\n")[2]
        assert re.search(r"^zeal +calm +- +- +- +- +- *$", tables, re.M)

    def test_two_evaluations(self, ask: Ask, predicted: str, evaluated: str) -> None:
        out = ask("effects", evaluated, predicted)
        assert out.count("among matched sets\n") == 1
        assert "\nB: among matched sets\n" in out
        assert out.count("No p among matched sets: the store has no attribution") == 1

    @pytest.mark.parametrize(
        ("intervention", "draws", "names", "said"),
        [
            ("mean", 8, ["a"], "of zero ablation, and this intervention is mean."),
            ("zero", 0, ["a"], "there are no control draws"),
            ("zero", 8, [], "the store has no attribution of these dilemmas"),
            ("zero", 8, ["a", "b"], "attribution/a and attribution/b had not been made"),
        ],
    )
    def test_why_there_is_no_attribution(
        self, intervention: str, draws: int, names: list[str], said: str
    ) -> None:
        told = why_none(intervention, draws, names)
        assert told.startswith("No p among matched sets: ")
        assert said in told

    def test_few_draws_warrant_nothing(self) -> None:
        assert why_not(1.0, 1.0, 7) == "7 draws, 8 needed"
        assert not why_not(0.8, 0.7, 8)
        assert why_not(math.nan, math.nan, 8, are_asked=False) == "draws not asked"

    def test_a_damaged_warrant(
        self, fail: Ask, make_store: MakeStore, add_effects: AddEffects
    ) -> None:
        path = make_store()
        add_effects(path, controls=4)
        group = arrays.open_group(path, "evaluation/choice/effect", mode="r+")
        group.update_attributes({"warrant": {"attribution": "choice-all", "sets": "many"}})
        commit(path, {}, without=["evaluation/choice"])
        commit(path, {})
        assert "is damaged in evaluation/choice/effect: its warrant" in fail("effects", path)


class TestData:
    def test_json_is_what_the_query_says(self, ask: Ask, evaluated: str, other: str) -> None:
        told = json.loads(ask("effects", evaluated, other, "--value", "zeal", "--format", "json"))
        for found, path in zip(told, (evaluated, other), strict=True):
            expected = query.effects(vxstore.open(path), value="zeal")
            assert found.pop("cells") == [
                {k: None if isinstance(v, float) and math.isnan(v) else v for k, v in row.items()}
                for row in expected.pop("cells").to_dict("records")
            ]
            assert found == expected

    def test_csv_has_full_precision(self, ask: Ask, evaluated: str) -> None:
        names = ("choice", "half")
        asked = [word for name in names for word in ("--evaluation", name)]
        rows = list(
            csv.DictReader(io.StringIO(ask("effects", evaluated, *asked, "--format", "csv")))
        )
        assert [row["evaluation"] for row in rows] == ["choice"] * 8 + ["half"] * 8
        assert {row["store"] for row in rows} == {evaluated}
        for name in names:
            cells = query.effects(vxstore.open(evaluated), name)["cells"]
            found = [float(row["mean_shift"]) for row in rows if row["evaluation"] == name]
            assert found == cells.mean_shift.tolist()
        assert [float(row["q_value"]) <= 0.1 for row in rows[:8]].count(True) == 1

    def test_dilemmas(self, ask: Ask, evaluated: str, corpus: str) -> None:
        asked = ("effects", evaluated, "--dilemmas", "--corpus", corpus, "--format")
        told = json.loads(ask(*asked, "json"))[0]
        assert "cells" not in told
        assert told["texts"] is None
        flipped = told["dilemmas"]
        assert [row["id"] for row in flipped] == ["calm-e1-zh", "zeal-e2-en"]
        assert (flipped[0]["dilemma"], flipped[0]["aligned"]) == (TEXT, "I wait.")
        assert flipped[1]["dilemma"] is None
        rows = list(csv.DictReader(io.StringIO(ask(*asked, "csv"))))
        assert [(row["before"], row["after"]) for row in rows] == [
            ("0.5", "-0.5"),
            ("-0.25", "0.25"),
        ]
        assert rows[0]["violating"] == "I shout."
        assert rows[1]["violating"] == ""


class TestDilemmas:
    def test_without_texts(self, ask: Ask, evaluated: str) -> None:
        out = ask("effects", evaluated, "--dilemmas")
        assert f"{evaluated}, evaluation/choice: 2 decisions flipped\n" in out
        assert "calm-e1-zh (calm, zh), calm ablated: +0.500 -> -0.500\n" in out
        assert "zeal-e2-en (zeal, en), zeal ablated: -0.250 -> +0.250\n" in out
        told = " ".join(out.split())
        assert "the texts are not at hand; give --corpus DIRECTORY (corpus.path:" in told

    def test_with_texts(self, ask: Ask, evaluated: str, corpus: str) -> None:
        out = ask("effects", evaluated, "--dilemmas", "--corpus", corpus)
        assert "not at hand" not in out
        assert "\x1b" not in out
        assert "\n  A [31mstranger[0m asks you what the time is." in out
        assert "\n  aligned: I wait.\n  violating: I shout.\n" in out
        assert "zeal ablated: -0.250 -> +0.250\n  (not in the corpus)\n" in out
        lines = out.partition("flipped\n")[2].splitlines()
        assert max(sum(1 + (ord(c) > 0x2E80) for c in line) for line in lines) <= 80
        assert "很长的一段话" * 20 in "".join(line.strip() for line in lines)

    def test_the_corpus_that_was_recorded(
        self,
        ask: Ask,
        make_store: MakeStore,
        add_effects: AddEffects,
        run_attrs: dict[str, Any],
        corpus: str,
    ) -> None:
        path = make_store(attrs={**run_attrs, "corpus": corpus})
        add_effects(path)
        assert "aligned: I wait." in ask("effects", path, "--dilemmas")
        Path(corpus, "evaluation.jsonl").unlink()
        out = ask("effects", path, "--dilemmas")
        assert "the texts are not at hand" in out
        assert "calm-e1-zh" in out

    def test_the_bundled_corpus(
        self,
        ask: Ask,
        make_store: MakeStore,
        add_effects: AddEffects,
        run_attrs: dict[str, Any],
    ) -> None:
        values = ("freedom", "equality", "harmony")
        path = make_store(values=values, attrs={**run_attrs, "corpus": "builtin:cvoice-seed"})
        add_effects(path, masks=[f"{value}" for value in values[:2]])
        told = json.loads(ask("effects", path, "--dilemmas", "--format", "json"))[0]
        assert told["texts"] is None

    def test_none_flipped(self, ask: Ask, evaluated: str) -> None:
        out = ask("effects", evaluated, "--dilemmas", "--mask", "calm", "--value", "zeal")
        assert out.endswith("evaluation/choice: 0 decisions flipped\n")

    def test_an_outcome_that_decides_nothing(
        self, ask: Ask, make_store: MakeStore, add_effects: AddEffects
    ) -> None:
        path = make_store()
        add_effects(path, attrs={"outcome": "harm", "decision_boundary": None})
        assert "harm has no decision that could flip" in ask("effects", path, "--dilemmas")
        assert re.search(r"^calm +calm +-1\.00 +\S+ +- ", ask("effects", path), re.M)


class TestRefusals:
    @pytest.mark.parametrize(
        ("asked", "known"),
        [
            (["--evaluation", "mine"], "(there: choice, half)"),
            (["--value", "thrift"], "there are calm, zeal"),
            (["--mask", "fury"], "there are calm, zeal"),
            (["--language", "pooled"], "there are zh, en"),
            (["--dilemmas", "--corpus", "/no/such/folder"], "--corpus: /no/such/folder is not"),
            (["--dilemmas", "--corpus", "builtin:none"], "expected builtin:cvoice-seed"),
            (["--corpus", "somewhere"], "--dilemmas"),
        ],
    )
    def test_names_what_is_known(
        self, fail: Ask, evaluated: str, asked: list[str], known: str
    ) -> None:
        assert known in fail("effects", evaluated, *asked)

    def test_each_store_must_have_one_of_the_evaluations(
        self, fail: Ask, ask: Ask, evaluated: str, other: str
    ) -> None:
        assert f"{other} has no finished evaluation/half" in fail(
            "effects", evaluated, other, "--evaluation", "half"
        )
        both = ("--evaluation", "half", "--evaluation", "choice", "--format", "json")
        told = json.loads(ask("effects", evaluated, other, *both))
        assert [of["evaluation"] for of in told] == ["half", "choice", "choice"]

    def test_no_evaluation(self, fail: Ask, make_store: MakeStore) -> None:
        assert "no finished evaluation" in fail("effects", make_store())


def test_labels_steer_no_terminal(ask: Ask, make_store: MakeStore, add_effects: AddEffects) -> None:
    values = ("\x1b[31mred", "two\nlines", "back\u202ewards")
    path = make_store(values=values)
    add_effects(path, masks=values[:2])
    for form in ("table", "json", "csv"):
        for asked in ((), ("--dilemmas",)):
            out = ask("effects", path, "--format", form, *asked)
            assert not [c for c in out if c != "\n" and (ord(c) < 32 or 127 <= ord(c) < 160)]
            assert "\u202e" not in out


def test_torch_is_never_loaded(evaluated: str) -> None:
    """Nor vxdist, unless a bundled corpus is asked for."""
    code = (
        "import sys; from vxstore.cli.main import main; store = sys.argv[1]\n"
        "assert main(['effects', store]) == 0\n"
        "assert 'vxdist' not in sys.modules\n"
        "asked = ['effects', store, '--dilemmas', '--corpus', 'builtin:cvoice-seed']\n"
        "assert main(asked) == 0\n"
        f"sys.exit(' '.join({{*{HEAVY}}} & {{*sys.modules}}) or None)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, evaluated], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("rank", "controls", "shown"),
    [(0.5, 1, "0-1/1"), (0.5, 2, "1/2"), (0.0, 1, "0/1"), (1.0, 8, "8/8"), (0.3125, 8, "2-3/8")],
)
def test_a_draw_that_is_level_is_no_half_draw(rank: float, controls: int, shown: str) -> None:
    from vxstore.cli.effect_tables import _rank

    assert _rank(rank, controls) == shown

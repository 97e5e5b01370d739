"""The command: what it prints, what it refuses, and what it never loads."""

import csv
import io
import json
import re
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import vxstore
from vxstore import query

MakeStore = Callable[..., str]
AddScores = Callable[..., dict[str, np.ndarray[Any, Any]]]
HOSTILE = ("\x1b[31mred\x1b[0m", "[bold]loud[/bold]", "back\u202ewards", "two\nlines\x9b2J")
HEAVY = ("torch", "lightning", "transformers", "vxdist")


def read_csv(text: str) -> list[dict[str, str]]:
    """Rows as dictionaries."""
    return list(csv.DictReader(io.StringIO(text)))


class TestInfo:
    def test_table(self, ask: Callable[..., str], full_store: str) -> None:
        out = ask("info", full_store)
        assert re.search(r"^model +tiny$", out, re.M)
        assert re.search(r"^revision +abc$", out, re.M)
        assert re.search(r"^parts +12 of 12 sealed$", out, re.M)
        assert re.search(r"^neurons +4 layers x 6$", out, re.M)
        assert re.search(r"^calm +101 +3 +105 +7$", out, re.M)
        assert re.search(r"^pooled +3 +1,234,567 +0 +0\.123457 +0\.200000 +0\.714286", out, re.M)
        assert "scores/vape" in out
        assert "evaluation/choice" in out
        assert max(map(len, out.splitlines())) <= 80

    def test_json_is_what_the_query_says(self, ask: Callable[..., str], full_store: str) -> None:
        told = json.loads(ask("info", full_store, "--format", "json"))
        assert told == query.describe(vxstore.open(full_store))

    def test_csv(self, ask: Callable[..., str], full_store: str) -> None:
        rows = read_csv(ask("info", full_store, "--format", "csv"))
        told = {(r["field"], r["value"], r["language"]): r["content"] for r in rows}
        assert len(told) == len(rows)
        assert told["model", "", ""] == "tiny"
        assert told["token_count", "calm", "en"] == "105"
        assert told["scores.vape.thresholds.filter_threshold", "", "zh"] == "0.1234567890123"
        assert told["scores.vape.thresholds.entropy_cut", "", "pooled"] == repr(5 / 7)

    def test_an_unfinished_store(self, ask: Callable[..., str], make_store: MakeStore) -> None:
        path = make_store(record=5)
        out = ask("info", path)
        assert "not complete: 7 parts are missing" in out
        assert "5 of 12 sealed" in out
        assert json.loads(ask("info", path, "--format", "json"))["complete"] is False
        assert "parts.sealed,,,5\n" in ask("info", path, "--format", "csv")

    def test_many_languages(self, ask: Callable[..., str], make_store: MakeStore) -> None:
        out = ask("info", make_store(languages=["zh", "en", "fr", "de"], shape=(1, 1)))
        assert re.search(r"^zeal +de +\d+ +\d+$", out, re.M)
        assert max(map(len, out.splitlines())) <= 80


class TestTop:
    def test_json_is_what_the_query_says(self, ask: Callable[..., str], full_store: str) -> None:
        for value in (None, "calm"):
            asked = [] if value is None else ["--value", value]
            told = json.loads(ask("top", full_store, "--k", "3", "--format", "json", *asked))
            expected = query.top(vxstore.open(full_store), value=value, k=3)
            assert told == expected.to_dict("records")

    def test_csv_has_full_precision(self, ask: Callable[..., str], full_store: str) -> None:
        rows = read_csv(ask("top", full_store, "--value", "calm", "--format", "csv"))
        expected = query.top(vxstore.open(full_store), value="calm")
        assert [float(r["probability"]) for r in rows] == expected.probability.tolist()
        assert [float(r["entropy"]) for r in rows] == expected.entropy.tolist()
        assert list(rows[0]) == list(expected)

    def test_csv_of_all_values(self, ask: Callable[..., str], full_store: str) -> None:
        rows = read_csv(ask("top", full_store, "--format", "csv", "--language", "pooled"))
        expected = query.top(vxstore.open(full_store), language="pooled")
        assert [r["values"].split() for r in rows] == expected["values"].tolist()

    @pytest.mark.parametrize("width", ["20", "80", "200"])
    @pytest.mark.parametrize("asked", [[], ["--value", "calm"]])
    def test_no_number_is_cut_short(
        self,
        ask: Callable[..., str],
        full_store: str,
        monkeypatch: pytest.MonkeyPatch,
        width: str,
        asked: list[str],
    ) -> None:
        monkeypatch.setenv("COLUMNS", width)
        out = ask("top", full_store, "--k", "4", *asked)
        rows = query.top(vxstore.open(full_store), value=asked[1] if asked else None, k=4)
        numbers = re.findall(r"(?<![\w.])[\d.]+(?![\w.])", out)
        expected = [
            f"{item:.6f}" if isinstance(item, float) else str(item)
            for row in rows.to_dict("records")
            for item in row.values()
            if isinstance(item, int | float)
        ]
        assert numbers == expected
        assert "…" not in out
        if width == "80":
            assert max(map(len, out.splitlines())) <= 80

    def test_one_value_has_no_others(
        self, ask: Callable[..., str], make_store: MakeStore, add_scores: AddScores
    ) -> None:
        path = make_store(values=["calm"])
        add_scores(path, values=["calm"])
        asked = ("top", path, "--value", "calm", "--k", "1")
        assert json.loads(ask(*asked, "--format", "json"))[0]["mean_other_probability"] is None
        assert read_csv(ask(*asked, "--format", "csv"))[0]["mean_other_probability"] == ""

    def test_nothing_selected(
        self, ask: Callable[..., str], make_store: MakeStore, add_scores: AddScores
    ) -> None:
        path = make_store()
        add_scores(path, share=0.0)
        assert "none is selected" in ask("top", path)
        assert json.loads(ask("top", path, "--format", "json")) == []
        header = "language,layer,neuron,entropy,level,claim,value_count,values\n"
        assert ask("top", path, "--format", "csv") == header


class TestRefusals:
    @pytest.mark.parametrize(
        ("asked", "known"),
        [
            (["--value", "fury"], "calm, zeal, thrift"),
            (["--language", "fr"], "zh, en, pooled"),
            (["--score", "lape"], "(there: vape)"),
            (["--k", "0"], "at least 1"),
            (["--k", "ten"], "--k"),
            (["--format", "xml"], "table"),
            (["--colour"], "--colour"),
        ],
    )
    def test_names_what_is_known(
        self, fail: Callable[..., str], full_store: str, asked: list[str], known: str
    ) -> None:
        assert known in fail("top", full_store, *asked)

    @pytest.mark.parametrize("arguments", [[], ["bottom"], ["info"]])
    def test_what_is_no_command(self, fail: Callable[..., str], arguments: list[str]) -> None:
        assert "--help" in fail(*arguments)

    @pytest.mark.parametrize("command", ["info", "top"])
    def test_what_is_no_store(
        self, fail: Callable[..., str], tmp_path_factory: pytest.TempPathFactory, command: str
    ) -> None:
        folder = tmp_path_factory.mktemp("empty")
        (folder / "notes.txt").write_text("notes")
        for path in (folder, folder / "notes.txt", folder / "none.zarr"):
            assert str(path) in fail(command, str(path))

    def test_top_of_an_unfinished_store(
        self, fail: Callable[..., str], make_store: MakeStore
    ) -> None:
        assert "7 of 12 parts are missing" in fail("top", make_store(record=5))

    def test_help(self, ask: Callable[..., str]) -> None:
        assert "COMMAND" in ask("--help")
        assert "--value" in ask("top", "--help")
        assert re.fullmatch(r"vxstore \S+\n", ask("--version"))


@pytest.fixture(scope="module")
def hostile(make_store: MakeStore, add_scores: AddScores) -> str:
    """A store whose names would steer a terminal."""
    attrs = {"model": "\x1b]0;title\x07tiny", "corpus": "[link=evil]\x00here", "dtype": "\ud800"}
    path = make_store(values=HOSTILE, attrs=attrs)
    add_scores(path, values=HOSTILE)
    return path


class TestHostileStrings:
    """A store may come from anyone: its strings must not steer the terminal."""

    @pytest.mark.parametrize(
        "asked",
        [
            ["info"],
            ["top"],
            ["top", "--value", HOSTILE[0]],
            ["neuron", "1", "2"],
            ["layers"],
            ["compare", "STORE"],
        ],
    )
    @pytest.mark.parametrize("form", ["table", "json", "csv"])
    def test_are_stripped(
        self, ask: Callable[..., str], hostile: str, asked: list[str], form: str
    ) -> None:
        rest = [hostile if word == "STORE" else word for word in asked[1:]]
        out = ask(asked[0], hostile, *rest, "--format", form)
        unsafe = [c for c in out if c != "\n" and (ord(c) < 32 or 127 <= ord(c) < 160)]
        assert unsafe == []
        assert not re.search("[\u202a-\u202e\u2066-\u2069\ud800-\udfff]", out)

    def test_markup_is_shown_as_it_stands(self, ask: Callable[..., str], hostile: str) -> None:
        out = ask("info", hostile)
        assert "[bold]loud[/bold]" in out
        assert "[31mred[0m" in out
        assert "two lines2J" in out
        assert "[link=evil]here" in out

    def test_json_loses_nothing(self, ask: Callable[..., str], hostile: str) -> None:
        told = json.loads(ask("info", hostile, "--format", "json"))
        assert told["values"] == list(HOSTILE)
        assert told["model"] == "\x1b]0;title\x07tiny"

    def test_errors_are_clean_too(self, fail: Callable[..., str], hostile: str) -> None:
        assert "\x1b" not in fail("top", hostile, "--value", "\x1b[2Jnone")


def run_python(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A fresh interpreter, its output piped."""
    command = [sys.executable, "-W", "error::UserWarning", "-c", code, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


class TestProcess:
    def test_help_loads_next_to_nothing(self) -> None:
        done = run_python(
            "import sys, vxstore; from vxstore.cli.main import main\n"
            "assert main(['export', '--help']) == 0; print('\\n'.join(sys.modules))"
        )
        assert done.returncode == 0, done.stderr
        assert not {*HEAVY, "numpy", "pandas", "xarray", "zarr", "rich"} & set(done.stdout.split())

    def test_no_command_loads_anything_heavy(self, full_store: str) -> None:
        code = (
            "import sys; from vxstore.cli.main import main; store = sys.argv[1]\n"
            "asked = (['info'], ['top'], ['neuron', '0', '0'], ['layers'], ['effects'],\n"
            "  ['compare', store])\n"
            "assert all(main([words[0], store, *words[1:]]) == 0 for words in asked)\n"
            f"loaded = set({HEAVY}) & set(sys.modules)\n"
            "sys.exit(f'loaded: {loaded}' if loaded else 0)"
        )
        done = run_python(code, full_store)
        assert (done.returncode, done.stderr) == (0, "")
        assert "\x1b" not in done.stdout  # piped: no colours

    def test_a_reader_that_leaves_early(self, full_store: str) -> None:
        code = "import sys; from vxstore.cli.main import main; sys.exit(main(sys.argv[1:]))"
        for form in ("csv", "table"):
            command = [sys.executable, "-c", code, "top", full_store, "--format", form]
            with subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
            ) as process:
                assert process.stdout is not None
                assert process.stderr is not None
                process.stdout.close()
                assert process.stderr.read() == ""

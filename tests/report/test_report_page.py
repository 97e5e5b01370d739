"""The page as text: what is on it, and what must never be."""

import dataclasses
import math
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import vxstore
from vxdist.config import Config
from vxdist.errors import UserError
from vxdist.output import Output
from vxdist.report.stage import report_path, run
from vxdist.report.text import signed

if TYPE_CHECKING:
    from conftest import StoreMaker

HOSTILE = "<script>alert(1)</script>"

MakeConfig = Callable[..., Config]


class Page(HTMLParser):
    """Tags, attributes, and the text of table cells and of everything."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.texts: list[str] = []
        self.feed(source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    @property
    def text(self) -> str:
        """All text, with single spaces."""
        return " ".join(" ".join(self.texts).split())


@pytest.fixture
def write(make_config: MakeConfig) -> Callable[["StoreMaker"], str]:
    """Write the store and its report; returns the page."""

    def write(maker: "StoreMaker") -> str:
        config = make_config(maker.write())
        run(config, Output())
        return report_path(config).read_text(encoding="utf-8")

    return write


def test_lies_beside_the_store_and_says_where(
    maker: "StoreMaker", make_config: MakeConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(make_config(maker.write()), Output())
    assert sorted(p.name for p in tmp_path.iterdir()) == ["tiny.html", "tiny.zarr"]
    assert capsys.readouterr().out == f"report: {tmp_path / 'tiny.html'}\n"


def test_goes_where_it_is_told(
    maker: "StoreMaker", make_config: MakeConfig, tmp_path: Path
) -> None:
    run(make_config(maker.write(), path=str(tmp_path / "new" / "page.html")), Output())
    assert (tmp_path / "new" / "page.html").is_file()


def test_is_self_contained(maker: "StoreMaker", write: Callable[["StoreMaker"], str]) -> None:
    source = write(maker)
    page = Page(source)
    assert not re.search(r"https?:|//[a-z]|@import|url\(", source)
    assert not {"link", "img", "iframe", "object", "embed", "base"} & set(page.tags)
    assert not [a for a in page.attributes if a[1] in ("src", "srcset", "data", "action")]
    assert all(value.startswith("#") for _, name, value in page.attributes if name == "href")


def test_escapes_what_the_store_says(
    maker: "StoreMaker", write: Callable[["StoreMaker"], str]
) -> None:
    maker.model = f"models/{HOSTILE}\" onclick='x'"
    maker.languages = ("en", "\"><img src=x onerror='x'>")
    source = write(maker)
    page = Page(source)
    assert HOSTILE not in source
    assert page.tags.count("script") == 1
    assert "img" not in page.tags
    assert not [a for a in page.attributes if a[1].startswith("on")]
    assert HOSTILE in page.text


def test_numbers_are_those_of_the_store(
    maker: "StoreMaker", write: Callable[["StoreMaker"], str]
) -> None:
    page = Page(write(maker))
    store = vxstore.open(maker.path)
    effect = store.effect("choice").load()
    digits = 2
    for shift in effect.mean_shift.values.reshape(-1):
        assert signed(float(shift), digits) in page.texts
    low, high = (float(effect[name][0, 0, 0]) for name in ("shift_low", "shift_high"))
    assert f"[{signed(low, 3)}, {signed(high, 3)}]" in page.texts
    top = store.root().load().isel(layer=1, neuron=7).sel(language="en")
    probability = (top.active_count / top.token_count).values
    own, others = float(probability[0]), float(probability[1:].mean())
    at = page.texts.index("L1/N7")
    row = [t for t in page.texts[at + 1 :] if t.strip()][:4]
    assert row == [f"{0.5 * math.log(3):.4f}", f"{own:.3f}", f"{others:.3f}", "1"]
    assert "3 layers × 8 = 24" in page.text
    assert f"{int(store.root().token_count.sum()):,} tokens of 12 stories, in 6 parts" in page.text
    assert "3.1%" in page.text
    assert "choice and rationale only" in page.text


def test_neurons_of_experts(maker: "StoreMaker", write: Callable[["StoreMaker"], str]) -> None:
    dense = Page(write(maker))
    assert not any(word in dense.text for word in ("expert", "routed"))
    maker.path, maker.experts = maker.path.replace("tiny", "moe"), 4
    page = Page(write(maker))
    assert "3 layers × 4 experts × 2 units = 24" in page.text
    assert "L1/E3/U1" in page.texts
    assert not any(re.fullmatch(r"L\d+/N\d+", text) for text in page.texts)
    assert "as layer, expert and unit" in page.text
    assert page.text.count("fraction of the value’s own tokens routed to its expert") == 1
    assert "of the tokens that its expert saw of the values it belongs to" in page.text
    caveat = page.text.index("An expert sees some tokens only")
    assert "4 experts, 2 for each token" in page.text[caveat:]
    # Of each value's 100 tokens and more all go to one expert, and a third to each other.
    rows = re.findall(r"\b(en|zh|pooled) 1 (\d+) (\d+)\b", page.text[caveat:])
    assert rows == [("en", "34", "33"), ("zh", "34", "33"), ("pooled", "68", "66")]
    dropped = page.text.index("Dead neurons are left out")
    assert re.findall(r"\b(en|zh|pooled) (\d+)\b", page.text[dropped:])[:3] == [
        ("en", "1"), ("zh", "1"), ("pooled", "1")
    ]  # fmt: skip


def test_the_verdict_is_at_the_head_and_above_the_matrix(
    maker: "StoreMaker", write: Callable[["StoreMaker"], str]
) -> None:
    page = Page(write(maker))
    said = "3 of 3 masks move choices more than their matched draws: "
    assert page.text.count(said) == 2
    assert "Control draws put in their mask's place have p <= 0.05 in " in page.text
    assert "p below 0.01 comes from the law of t" in page.text
    assert "<0.01" in page.texts  # a p in the table
    assert "5 causal" not in page.text  # of a score without tests there is no table of levels


def test_what_is_not_found_is_grey(
    maker: "StoreMaker", write: Callable[["StoreMaker"], str]
) -> None:
    found = write(maker)
    assert "not found" in Page(found).text
    maker = dataclasses.replace(maker, path=maker.path.replace("tiny", "none"), effect=0.0)
    grey = write(maker)
    # The cells of the matrix, and the rows of both tables.
    assert (found.count(" grey"), grey.count(" grey")) == (0, 18 + 18 + 6)
    assert (found.count(" passes"), grey.count(" passes")) == (19, 1)  # one in the style


def test_says_no_effect_when_there_is_none(
    maker: "StoreMaker", write: Callable[["StoreMaker"], str]
) -> None:
    maker.effect = 0.0
    said = "None of 3 masks moves choices more than its matched draws (smallest q "
    assert said in Page(write(maker)).text


def test_caveats_have_their_numbers(
    maker: "StoreMaker", write: Callable[["StoreMaker"], str]
) -> None:
    text = Page(write(maker)).text
    assert "ln 3 = 1.0986 nats" in text
    # Eight neurons for one value, one of them for the other two: overlaps 1/8, 1/8 and 1.
    assert f"8 {1.25 / 3:.3f} 1.25 of 3" in text
    assert "Each cell rests on 4 dilemmas" in text
    assert "the smallest two-sided p it could show is 0.22" in text
    assert "The effect matrix has 18 cells (3 masks, 3 values, 2 languages)" in text
    assert "en 12 100% 100% 100%" in text


def test_works_without_an_evaluation(
    maker: "StoreMaker", write: Callable[["StoreMaker"], str]
) -> None:
    maker.evaluate = False
    text = Page(write(maker)).text
    assert "The store has no finished evaluation yet." in text
    assert "Selected neurons" in text
    assert "L1/N7" in text


def test_names_come_from_the_card(
    maker: "StoreMaker", make_config: MakeConfig, tmp_path: Path, corpus_folder: Path
) -> None:
    folder = tmp_path / "corpus"
    folder.mkdir()
    for file in corpus_folder.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    card = "values:\n  kindness: {en: Kindness of heart, zh: 善良}\n  thrift: [odd]\n"
    (folder / "card.yaml").write_text(card, encoding="utf-8")
    run(make_config(maker.write(), corpus=str(folder)), Output())
    text = Page((tmp_path / "tiny.html").read_text(encoding="utf-8")).text
    assert "Kindness of heart 善良" in text
    assert "thrift" in text


def test_other_ranks_do_nothing(
    maker: "StoreMaker", make_config: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RANK", "1")
    run(make_config(maker.write()), Output())
    assert not (tmp_path / "tiny.html").exists()


def test_missing_store_score_and_place_are_the_users_to_mend(
    maker: "StoreMaker", make_config: MakeConfig, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match="no store at"):
        run(make_config(str(tmp_path / "none.zarr")), Output())
    config = make_config(maker.write(), path=str(tmp_path))
    with pytest.raises(UserError, match=r"report\.path"):
        run(config, Output())
    config.reduce.name = "other"
    with pytest.raises(UserError, match="no finished scores/other"):
        run(config, Output())
    with pytest.raises(UserError, match="is a URL"):
        report_path(make_config("s3://bucket/run.zarr"))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["tiny.zarr"]

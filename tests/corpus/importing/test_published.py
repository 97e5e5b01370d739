"""Published datasets: each format from a small faithful file; the release, if available."""

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from vxdist.corpus import Corpus
from vxdist.corpus.importing.labels import Labels

RELEASE = Path(__file__).parents[4] / "shared" / "data" / "c-voice-release"
Take = Callable[..., tuple[Corpus, list[dict[str, str]]]]
Sheets = Callable[..., Path]


def test_the_release(take: Take, sheets: Sheets, tmp_path: Path) -> None:
    """Like the authors' files: incomplete and mislabelled rows, a letter before each option."""
    folder = tmp_path / "release"
    (folder / "answers").mkdir(parents=True)
    (folder / "data").mkdir()
    question = ["公正 vs 人情", "表弟求我。", "A. 按规矩办", "B. 帮他一次"]
    for kind, answer in (("support", "规矩是大家的。"), ("conflict", "亲情要紧。")):
        lines = [
            {"question": question, "answer": answer},
            {"question": ["和平 vs 人情", "另一件。", "A. 甲", "B. 乙"], "answer": "理由。"},
            {"question": question, "answer": answer},
            {"question": question[:3], "answer": answer},
        ]
        text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
        (folder / "answers" / f"公正-{kind}.json").write_text(text, encoding="utf-8")
    head = ["Type", "Context", "Action1", "Action2"]
    sheets(
        folder / "data" / "test-zh-200.xlsx",
        {
            "公正": [head, ["公正 v.s. 人情", "选谁？", "选能干的。", "选熟的。"],
                    ["公正 vs 人情", "没写完", None, None],
                    ["人情冷暖", "贴错了。", "甲", "乙"]],
            "自由": [head, ["自由 vs 安全", "走不走？", "走。", "留。"]],
        },
    )  # fmt: skip
    sheets(folder / "data" / "自由-final.xlsx", {"Sheet1": [["冲突类型"]]})
    corpus, dropped = take("cvoice-release", folder)
    stories = [(i.stance, i.choice, i.rationale, i.pair) for i in corpus.activation]
    assert sorted(stories) == [
        ("aligned", "按规矩办", "规矩是大家的。", "justice-a001"),
        ("violating", "帮他一次", "亲情要紧。", "justice-a001"),
    ]
    (dilemma,) = corpus.evaluation
    assert (dilemma.value, dilemma.rival, dilemma.aligned) == ("justice", "人情", "选能干的。")
    reasons = Counter(row["reason"].partition(":")[0] for row in dropped)
    assert reasons == {
        "mislabelled": 3,
        "duplicate": 2,
        "question is not [type, dilemma, option A, option B]": 2,
        "incomplete": 1,
        "evaluation dilemma of a value without stories": 1,
    }
    places = {row["where"] for row in dropped}
    assert {"test-zh-200.xlsx:公正:3", "test-zh-200.xlsx:自由:2"} <= places, (
        "values without stories too"
    )
    assert any("自由" in remark for remark in corpus.card["remarks"])


@pytest.mark.skipif(not RELEASE.is_dir(), reason="the authors' files are not available")
def test_the_authors_files(take: Take) -> None:
    corpus, dropped = take("cvoice-release", RELEASE)
    assert (len(corpus.activation), len(corpus.evaluation)) == (3395, 1794)
    assert len(corpus.values) == 8
    assert len(dropped) == 912
    stances = Counter((i.pair, i.dilemma) for i in corpus.activation)
    assert set(stances.values()) <= {1, 2}


def test_rules_of_cvc(take: Take, tmp_path: Path) -> None:
    file = tmp_path / "C-VARC(EN).jsonl"
    rule = {"rule": "Keep your word to a friend.", "level": ["Person"],
            "core values": ["Integrity", "Friendship"], "derived values": ["x"]}  # fmt: skip
    file.write_text(json.dumps(rule) + "\n" + json.dumps(rule | {"core values": ["Zeal"]}))
    corpus, dropped = take("cvc", file)
    assert [(i.value, i.language, i.dilemma) for i in corpus.activation] == [
        ("integrity", "en", "Keep your word to a friend."),
        ("friendliness", "en", "Keep your word to a friend."),
    ]
    assert [row["reason"] for row in dropped] == ["unknown value 'Zeal'"]


def test_dilemmas_of_cvc_in_gbk(take: Take, refused: Callable[..., str], tmp_path: Path) -> None:
    file = tmp_path / "all_dilemma_1.csv"
    head = "index,scene,options,rot1,core_values_1,rot2,core_values_2"
    row = '0,朋友借车，你借吗？,"A：借\nB：不借\nC：看书",r,"[\'Friendship\']",r,"公正,法治"'
    file.write_bytes(f"{head}\n{row}\n".encode("gbk"))
    error = refused("cvc", file, "--language", "zh")
    assert "not UTF-8" in error
    assert "it looks like GBK: use --encoding gb18030" in error
    corpus, _ = take("cvc", file, "--language", "zh", "--encoding", "gb18030")
    assert [i.value for i in corpus.activation] == ["friendliness", "justice", "rule_of_law"]
    assert {i.dilemma for i in corpus.activation} == {"朋友借车，你借吗？"}


def test_valuecsv(take: Take, sheets: Sheets, tmp_path: Path) -> None:
    head = ["", "text", "富强", "民主", "友善"]
    rows = [head, [1, "邻里互相帮忙。", 0, 0, 1], [2, "大家一起富。", 1, 1, 0],
            [3, "天下雨了。", 0, 0, 0], [4, "记错了。", 2, 0, 0],
            ["", "", 40, 55, 31]]  # fmt: skip
    corpus, dropped = take("valuecsv", sheets(tmp_path / "v.xlsx", {"Sheet1": rows}))
    assert [(i.value, i.dilemma) for i in corpus.activation] == [
        ("friendliness", "邻里互相帮忙。"),
        ("prosperity", "大家一起富。"),
        ("democracy", "大家一起富。"),
    ]
    assert {row["where"].rpartition(":")[2]: row["reason"] for row in dropped} == {
        "4": "no value",
        "5": "found the mark '2', expected 0 or 1",
        "6": "last row, which holds totals",
    }


def test_names_of_values() -> None:
    labels = Labels({"Selbstbestimmung": "self_direction"})
    for name, value in (
        ("Friendship", "friendliness"), ("Friendliness", "friendliness"), ("友善", "friendliness"),
        ("Civility", "civility"), ("文明", "civility"), ("Rule of Law", "rule_of_law"),
        ("rule_of_law", "rule_of_law"), (" 富強 ", "prosperity"),
        ("selbstbestimmung", "self_direction"), ("nonsense", None),
    ):  # fmt: skip
        assert labels.find(name) == value
    labels = Labels({"Care": "benevolence", "Amity": "Friendship"})
    assert labels.find("Benevolence") == "benevolence", "the value of an added name is known too"
    assert labels.find("amity") == labels.find("Friendship") == "friendliness"
    kept = Labels({"Care": "benevolence"}, keep=True)
    assert [kept.find(name) for name in ("care", "Justice", "Benevolence")] == [
        "benevolence", "Justice", "Benevolence",
    ]  # fmt: skip

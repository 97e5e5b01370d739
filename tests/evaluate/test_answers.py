"""Answers equal those that transformers generates one at a time."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import vxstore
from vxdist.asking.outcomes.answers import Answers, AnswersSettings
from vxdist.asking.writing import Writing
from vxdist.config import CorpusConfig
from vxdist.corpus import load_corpus
from vxdist.errors import UserError
from vxdist.runtime.work import make_batch
from vxstore.cli.main import main as vxstore_main


def test_against_plain_generation(
    evaluated: Any,
    neutral_corpus: Path,
    tokenizer: Any,
    prompter: Any,
    ablated_model: Callable[..., Any],
) -> None:
    found = vxstore.open(str(evaluated.store)).evaluation("answers").load()
    outcome = Answers(AnswersSettings(max_new_tokens=4, dilemmas=2))
    items = outcome.choose(load_corpus(CorpusConfig(path=str(neutral_corpus))).evaluation)
    assert found.kind.values.tolist() == ["intact", *["mask"] * 3, *["control"] * 3]
    assert found.dilemma.values.tolist() == [item.id for item in items]
    assert len(items) == 12
    questions = outcome.ask(items, prompter, None)
    for c in (0, 2, 6):
        for language in ("en", "zh"):
            model = ablated_model(found, c, language)
            for question in (q for q in questions if q.language == language):
                ids = torch.tensor([question.token_ids_T.tolist()])
                written = model.generate(
                    ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=4,
                    pad_token_id=2,
                )  # fmt: skip
                expected = tokenizer.decode(written[0, ids.shape[1] :], skip_special_tokens=True)
                assert (
                    str(found.answer.values[c, question.dilemma])
                    == expected.rstrip("\N{REPLACEMENT CHARACTER}").strip()
                )
    assert len({str(text) for text in found.answer.values.flat}) > 3


@pytest.mark.parametrize("family", ["llama", "gpt2", "gpt_neox", "bloom", "opt"])
def test_texts_of_several_lengths_are_what_each_is_alone(
    family: str, make_model: Callable[[str], Any], families: list[str], tokenizer: Any
) -> None:
    if family not in families:
        pytest.skip(f"{family} is not supported")
    model = make_model(family)
    texts = [list(range(3, 3 + n)) for n in (5, 12, 9)]

    def write(of: list[list[int]]) -> list[str]:
        batch = make_batch(0, tuple(range(len(of))), [(ids, None) for ids in of])
        writing = Writing(model, batch, tokenizer)
        with torch.inference_mode():
            for _ in range(6):
                writing.step(model)
        assert writing.length == 6
        return writing.texts()

    assert write(texts) == [text for one in texts for text in write([one])]


def test_an_answer_ends_where_the_model_ends_it(
    make_model: Callable[[str], Any], tokenizer: Any
) -> None:
    model = make_model("llama")
    batch = make_batch(0, (0,), [([3, 4, 5], None)])
    whole = Writing(model, batch, tokenizer)
    for _ in range(3):
        whole.step(model)
    second = int(whole._written_BT[0, 1])
    model.generation_config.eos_token_id = [second]
    ended = Writing(model, batch, tokenizer)
    for _ in range(3):
        ended.step(model)
    one = tokenizer.decode([int(whole._written_BT[0, 0])])
    assert ended.texts() == [one.rstrip("\N{REPLACEMENT CHARACTER}").strip()]
    assert ended.length == 3


def test_queries_skip_it_or_show_it(
    evaluated: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(evaluated.store)
    assert vxstore_main(["answers", path, "--value", "kindness", "--format", "json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert {row["condition"] for row in rows} == {"intact", "kindness", "kindness control 0"}
    assert {row["value"] for row in rows} == {"kindness"}
    assert vxstore_main(["answers", path, "--language", "zh"]) == 0
    assert "kindness-e0-zh (kindness, zh)" in capsys.readouterr().out
    for command in (
        ("answers", path, "--value", "courage"),
        ("answers", path, "--evaluation", "choice"),
        ("effects", path, "--evaluation", "answers"),
        ("export", path, str(tmp_path / "x.csv"), "--what", "effects", "--evaluation", "answers"),
        ("export", path, str(tmp_path / "x.csv"), "--what", "dilemmas", "--evaluation", "answers"),
    ):
        assert vxstore_main(list(command)) == 2, command
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("error: ")
    assert vxstore_main(["info", path]) == 0
    assert vxstore_main(["info", path, "--evaluation", "answers"]) == 0
    assert vxstore.answers(vxstore.open(path)).shape == (12 * 7, 7)


@pytest.mark.parametrize(
    ("name", "found"), [("max_new_tokens", 0), ("dilemmas", 0), ("controls", -1)]
)
def test_settings_out_of_range(name: str, found: int) -> None:
    settings = AnswersSettings(**{name: found})
    with pytest.raises(UserError, match=f"evaluate.answers.{name}: {found} must be"):
        Answers(settings).check()

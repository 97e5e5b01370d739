"""A trial before the hours: a model that would say something else is refused, or warned of."""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import vxstore
from vxdist.asking.trial import NUMBER, Trial, pick_questions
from vxdist.cli import main
from vxdist.errors import UserError
from vxstore.cli.main import main as vxstore_main


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A question with answers 5 and 6."""

    at: tuple[int, ...]
    language: str
    token_ids_T: NDArray[np.int32]
    answers: tuple[tuple[int, ...], ...] = ((5,), (6,))


class Fixed(torch.nn.Module):
    """A model whose next token does not depend on the text: the answers have `mass` together,
    but for texts that end with token 9, where they have `mass_9`."""

    def __init__(self, mass: float, mass_9: float) -> None:
        super().__init__()
        self.mass = torch.nn.Parameter(torch.tensor([mass, mass_9]))

    def forward(self, input_ids: torch.Tensor, logits_to_keep: Any, **_: Any) -> Any:
        ends_BK = (input_ids[:, logits_to_keep] == 9).long()
        mass_BK = self.mass[ends_BK]
        probability_BKW = ((1 - mass_BK) / 8)[..., None].repeat(1, 1, 10)
        probability_BKW[..., 5:7] = (mass_BK / 2)[..., None]

        @dataclass
        class Output:
            logits: torch.Tensor

        return Output(probability_BKW.log())


@pytest.fixture
def make_trial(prompter: Any) -> Callable[[float], Trial]:
    """Twelve questions in two languages; those in zh end with token 9."""
    questions = [
        Asked(
            at=(n,),
            language=("en", "zh")[n % 2],
            token_ids_T=np.array([3] * (n + 1) + [(8, 9)[n % 2]], dtype=np.int32),
        )
        for n in range(12)
    ]

    def make(least_mass: float) -> Trial:
        return Trial(
            questions=questions, prompter=prompter, least_mass=least_mass,
            tokens_per_batch=64, max_padding=0.3,
        )  # fmt: skip

    return make


@torch.inference_mode()
def test_enough_is_silent(
    make_trial: Callable[[float], Trial], capsys: pytest.CaptureFixture[str]
) -> None:
    make_trial(0.1).run(Fixed(0.9, 0.6))  # type: ignore[arg-type]
    assert capsys.readouterr() == ("", "")


@torch.inference_mode()
def test_little_is_warned_of_by_language(
    make_trial: Callable[[float], Trial], capsys: pytest.CaptureFixture[str]
) -> None:
    make_trial(0.1).run(Fixed(0.9, 0.4))  # type: ignore[arg-type]
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("warning: in a trial of 12 questions the intact model gave the answers")
    assert "90.0% in en, 40.0% in zh of its probability; in zh its likeliest" in line


@torch.inference_mode()
def test_less_is_refused(make_trial: Callable[[float], Trial]) -> None:
    with pytest.raises(UserError) as refusal:
        make_trial(0.1).run(Fixed(0.08, 0.02))  # type: ignore[arg-type]
    line = str(refusal.value)
    assert line.startswith("evaluate.least_mass: ")
    for part in ("8.0% in en, 2.0% in zh", "12%", "ends with", "evaluate.answer_prefix"):
        assert part in line
    assert "\n" not in line
    make_trial(0.05 - 1e-6).run(Fixed(0.08, 0.02))  # type: ignore[arg-type]


def test_questions_are_spread() -> None:
    values = ["a"] * 20 + ["b"] * 20
    questions = [
        Asked(at=(d, o), language=g, token_ids_T=np.array([1], dtype=np.int32))
        for d in range(40)
        for g in (("en", "zh")[d % 2],)
        for o in range(2)
    ]
    picked = pick_questions(questions, values)
    assert len(picked) == NUMBER
    kinds = [(values[q.at[0]], q.language, q.at[1]) for q in picked]
    assert {kinds.count(kind) for kind in kinds} == {2}
    assert picked == pick_questions(questions, values)
    assert pick_questions([], []) == []
    none = [Asked(at=(0,), language="en", token_ids_T=questions[0].token_ids_T, answers=())]
    assert pick_questions(none, ["a"]) == []


def test_through_the_command(
    run_options: list[str],
    model_folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """What was refused leaves nothing that other settings would be refused for."""
    at = run_options.index("--evaluate.least_mass")
    options = run_options[:at] + run_options[at + 2 :]
    for stage in ("locate", "reduce"):
        assert main([stage, *options]) == 0
    capsys.readouterr()
    assert main(["evaluate", *options]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: evaluate.least_mass: in a trial of 16 questions")
    assert vxstore.open(str(tmp_path / "run.zarr")).names("evaluation") == []
    assert main(["evaluate", *options, "--evaluate.least_mass", "2"]) == 2
    assert "evaluate.least_mass: 2.0 must be from 0 to 1" in capsys.readouterr().err

    others = ["--evaluate.answer_prefix", " (", "--evaluate.least_mass", "0"]
    assert main(["evaluate", *options, *others]) == 0
    said = capsys.readouterr()
    assert said.err.startswith("warning: in a trial of 16 questions")
    assert "evaluate: probability of the answers in the intact model: en " in said.out
    store = vxstore.open(str(tmp_path / "run.zarr"))
    mass = vxstore.effects(store)["answer_mass"]
    option_mass = store.evaluation("choice").load().option_mass
    of_language = option_mass[0].where(option_mass.dilemma_language == "zh", drop=True)
    assert mass["zh"] == pytest.approx(float(of_language.mean()))
    assert vxstore_main(["effects", str(tmp_path / "run.zarr")]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "probability of the answers in the intact model: en " in shown
    assert "was about to say something else" in shown


def test_a_bare_letter_tokenizer_and_settings_in_a_file(
    run_options: list[str], model_folder: Path, tmp_path: Path
) -> None:
    """Settings of the prompt in YAML; a chat template in the model's folder."""
    folder = tmp_path / "chat"
    shutil.copytree(model_folder, folder)
    template = (
        "{% for m in messages %}[{{ m.role }}] {{ m.content }}{% endfor %}"
        "{{ strftime_now('%d.%m.%Y') }}{% if shout %}!{% endif %}"
    )
    (folder / "chat_template.jinja").write_text(template)
    file = tmp_path / "run.yaml"
    evaluate = {
        "system": "Be brief.",
        "template": {"shout": True},
        "answer_prefix": {"en": " en>", "zh": " zh>"},
        "date": "2026-01-31",
    }
    file.write_text(json.dumps({"evaluate": evaluate}).replace('"2026-01-31"', "2026-01-31"))
    options = [*run_options, "--model.path", str(folder)]
    for stage in ("locate", "reduce", "evaluate"):
        assert main([stage, "--config", str(file), *options]) == 0
    attrs = vxstore.open(str(tmp_path / "run.zarr")).evaluation("choice").attrs
    for language in ("en", "zh"):
        prompt = attrs["sample_prompts"][language]
        assert prompt.startswith("[system] Be brief.[user] kindness")
        assert prompt.endswith(f"31.01.2026! {language}>")

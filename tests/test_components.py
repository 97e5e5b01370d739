"""Law 12: a component defined here alone works through every command, check, export and report."""

import contextlib
import dataclasses
import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
import yaml
from numpy.typing import NDArray

import vxstore
from vxdist import config
from vxdist.asking.outcomes import OUTCOMES
from vxdist.cli import main
from vxdist.components import compose, find_class, find_table, make_component
from vxdist.config import COMPONENTS, ReduceConfig, compose_section
from vxdist.errors import UserError
from vxdist.hooks.interventions import INTERVENTIONS, Affine, Recorded
from vxdist.reduce.counts import LanguageCounts
from vxdist.reduce.selectors import SELECTORS, Selection
from vxstore.cli.main import main as vxstore_main
from vxstore.schema import ArraySpec


class RateDifference:
    """The neurons that are active more often for a value than for the others, `count` per value."""

    @dataclass(kw_only=True)
    class Settings:
        """Selecting by the difference of activation probabilities."""

        count: int = 4
        """Number of neurons to select per value."""

    needs = ("active_count",)
    ranked_by = "difference"
    ascending = False
    ranked_among = None
    arrays: ClassVar[Mapping[str, ArraySpec]] = {
        "difference": ArraySpec(
            dims=("layer", "neuron", "value", "language"),
            dtype="float64",
            units="1",
            long_name="probability for the value less the mean over all values",
        )
    }

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    def check(self) -> None:
        if self.settings.count < 1:
            raise UserError(f"reduce.rate_difference.count: found {self.settings.count}")

    def select(self, counts: LanguageCounts) -> Selection:
        difference_LNV = np.concatenate([counts.probability(at) for at in counts.blocks()])
        difference_LNV -= difference_LNV.mean(axis=-1, keepdims=True)
        selected_LNV = np.zeros(difference_LNV.shape, dtype=bool)
        for v in range(difference_LNV.shape[-1]):
            best = np.argsort(-difference_LNV[..., v], axis=None)[: self.settings.count]
            selected_LNV[..., v].reshape(-1)[best] = True
            layer, neuron = np.unravel_index(best, difference_LNV.shape[:2])
            selected_LNV[layer, neuron, v] = True
        return Selection(selected_LNV=selected_LNV, arrays={"difference": difference_LNV})

    def describe(self, thresholds: Mapping[str, Any]) -> str:
        return f"{self.settings.count} neurons per value"


class Surprise:
    """How uncertain the model is of what follows a dilemma: no letters, no orders, no decision."""

    settings = None
    effect_of = "uncertainty"
    decision_boundary = None
    mass_of = None
    labels: ClassVar[Mapping[str, Sequence[str]]] = {}
    arrays: ClassVar[Mapping[str, ArraySpec]] = {
        "uncertainty": ArraySpec(
            dims=("condition", "dilemma"),
            dtype="float64",
            units="bits",
            long_name="entropy of the next token",
        )
    }

    @dataclass(frozen=True, kw_only=True)
    class Question:
        dilemma: int
        language: str
        token_ids_T: NDArray[np.int32]
        answers = ()

        @property
        def at(self) -> tuple[int]:
            return (self.dilemma,)

    def prompts(self, item: Any) -> Sequence[str]:
        return [item.dilemma]

    def ask(self, items: Any, prompter: Any, max_length: int | None) -> Sequence[Any]:
        return [
            self.Question(
                dilemma=n,
                language=item.language,
                token_ids_T=prompter.encode(item.dilemma, item.language, quoted=[item.dilemma]),
            )
            for n, item in enumerate(items)
        ]

    def measure(
        self, model: Any, batch: Any, questions: Sequence[Any]
    ) -> Mapping[str, NDArray[np.float64]]:
        logits_BTW = model(
            input_ids=batch.token_ids_BT, attention_mask=batch.attention_mask_BT, use_cache=False
        ).logits
        last_B = batch.attention_mask_BT.sum(1) - 1
        log_p_BW = logits_BTW[torch.arange(len(last_B)), last_B].double().log_softmax(-1)
        return {"uncertainty": (-(log_p_BW.exp() * log_p_BW).sum(-1) / np.log(2)).cpu().numpy()}


class Half:
    """h -> h / 2."""

    settings = None
    needs = ()

    def affine(self, recorded: Recorded, value: str, language: str) -> Affine:
        half_LN = np.full(recorded.shape_LN, 0.5, dtype=np.float32)
        return Affine(scale_LN=half_LN, shift_LN=np.zeros_like(half_LN))


@pytest.fixture
def components(monkeypatch: pytest.MonkeyPatch) -> None:
    """The three above, in the tables."""
    monkeypatch.setitem(SELECTORS, "rate_difference", f"{__name__}:RateDifference")  # type: ignore[arg-type]
    monkeypatch.setitem(OUTCOMES, "surprise", f"{__name__}:Surprise")  # type: ignore[arg-type]
    monkeypatch.setitem(INTERVENTIONS, "half", f"{__name__}:Half")  # type: ignore[arg-type]


@pytest.fixture
def options(run_options: list[str], components: None) -> list[str]:
    """A small run with all three."""
    at = run_options.index("--reduce.vape.top_fraction")
    return [
        *run_options[:at],
        *run_options[at + 6 :],
        *("--reduce.selector", "rate_difference", "--reduce.rate_difference.count", "5"),
        *("--evaluate.outcome", "surprise", "--evaluate.intervention", "half"),
    ]


def ask(*arguments: str) -> str:
    """What a vxstore command prints; it must succeed."""
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        assert vxstore_main(arguments) == 0, arguments
    return printed.getvalue()


def test_through_every_command(
    options: list[str], tmp_path: Path, add_tests: Callable[..., dict[str, Any]]
) -> None:
    assert main(["run", *options]) == 0
    path = str(tmp_path / "run.zarr")
    store = vxstore.open(path)
    assert (store.names("scores"), store.names("evaluation")) == (["rate_difference"], ["surprise"])
    scores = store.scores("rate_difference")
    assert (scores.selected.sum(("layer", "neuron")) == 5).all()
    page = (tmp_path / "run.html").read_text(encoding="utf-8")
    assert "entropy of the next token" in page or "uncertainty" in page
    assert "bits" in page
    assert "same letter" not in page.lower()
    assert "two letters" not in page.lower()

    value = str(scores.value.values[0])
    for output in ("table", "json", "csv"):
        for command in (
            ("info", path),
            ("top", path),
            ("top", path, "--value", value, "--language", "en"),
            ("neuron", path, "0", "1"),
            ("neuron", path, "0", "1", "--clusters"),
            ("null", path),
            ("layers", path),
            ("compare", path, path),
            ("effects", path),
            ("check", path),
        ):
            assert ask(*command, "--format", output), command
    top = json.loads(ask("top", path, "--value", value, "--language", "en", "--format", "json"))
    ranked = [row["difference"] for row in top]
    assert len(ranked) == 5
    assert ranked == sorted(ranked, reverse=True)
    for name in ("neurons.csv", "neurons.mask.json", "neurons.parquet"):
        ask("export", path, str(tmp_path / name))
    ask("export", path, str(tmp_path / "effects.csv"), "--what", "effects")
    ask("select", path, "--name", "fewer", "--count", "2")
    fewer = vxstore.open(path).scores("fewer")
    assert (fewer.selected.sum(("layer", "neuron")) == 2).all()
    made = yaml.safe_load(ask("info", path, "--settings", "rate_difference"))
    assert made["reduce"]["rate_difference"] == {"count": 5}
    assert ask("check", path)

    add_tests(path, "rate_difference")
    score = ("--score", "rate_difference")
    for asked in (("top", "--level", "1"), ("null",)):
        assert "1 differs" in ask(asked[0], path, *asked[1:], *score)
    assert "rival (second most active for): " in ask("neuron", path, "0", "1", *score)
    ask("export", path, str(tmp_path / "levels.csv"), *score)
    assert ",difference,level,p_value,q_value," in (tmp_path / "levels.csv").read_text()
    assert main(["report", *options]) == 0
    assert "1 differs" in (tmp_path / "run.html").read_text(encoding="utf-8")


def test_what_was_measured(options: list[str], model_folder: Path, tmp_path: Path) -> None:
    """Ablated by half is a down projection with half the weights in those columns."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    for stage in ("locate", "reduce", "evaluate"):
        assert main([stage, *options]) == 0
    found = vxstore.open(str(tmp_path / "run.zarr")).evaluation("surprise").load()
    tokenizer = AutoTokenizer.from_pretrained(model_folder)
    corpus = {i["id"]: i for i in _evaluation_items(options)}
    for c in (0, 1, found.sizes["condition"] - 1):
        for d in range(found.sizes["dilemma"]):
            language = str(found.dilemma_language.values[d])
            model = AutoModelForCausalLM.from_pretrained(model_folder).eval()
            masked_LN = found.masked.sel(language=language).values[c]
            for layer, masked_N in zip(model.model.layers, masked_LN, strict=True):
                layer.mlp.down_proj.weight.data[:, masked_N] *= 0.5
            ids = tokenizer(corpus[str(found.dilemma.values[d])]["dilemma"])["input_ids"]
            with torch.inference_mode():
                log_p_W = model(torch.tensor([ids])).logits[0, -1].double().log_softmax(-1)
            expected = float(-(log_p_W.exp() * log_p_W).sum() / np.log(2))
            assert found.uncertainty.values[c, d] == pytest.approx(expected, abs=2e-4)


def _evaluation_items(options: Sequence[str]) -> list[dict[str, str]]:
    folder = Path(options[options.index("--corpus.path") + 1])
    lines = (folder / "evaluation.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


class TestTables:
    def test_settings_join_the_section_that_chooses(self, components: None) -> None:
        section: Any = compose_section(ReduceConfig)()
        assert (section.vape.top_fraction, section.rate_difference.count) == (0.01, 4)

    def test_unknown_names_list_the_known(self) -> None:
        with pytest.raises(
            UserError, match=r"reduce.selector: found 'lape', expected one of contrast"
        ):
            find_class(SELECTORS, "lape", "reduce.selector")

    def test_components_are_made_with_their_settings(self, components: None) -> None:
        section: Any = compose_section(ReduceConfig)(selector="rate_difference")
        section.rate_difference.count = 7
        made = make_component(SELECTORS, "rate_difference", section, "reduce.selector")
        assert made.settings.count == 7

    def test_components_without_settings_add_nothing(self) -> None:
        @dataclass(kw_only=True)
        class Plain:
            """Plain."""

            number: int = 1

        made = compose(Plain, {"plain.kind": {"half": f"{__name__}:Half"}})
        assert [field.name for field in dataclasses.fields(made)] == ["number"]

    def test_names_are_not_used_twice_in_a_section(self) -> None:
        """A component's settings would hide a setting, or another component's."""
        for section, tables in COMPONENTS.items():
            names = [field.name for field in dataclasses.fields(getattr(config, section))]
            names += [name for where in tables.values() for name in find_table(where)]
            assert len(set(names)) == len(names), section

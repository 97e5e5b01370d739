"""Means and activity of neurons, from the store; and mean ablation through the command."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import vxstore
from vxdist.cli import main
from vxdist.hooks.interventions.mean import Mean
from vxdist.hooks.interventions.zero import Zero
from vxdist.hooks.recorded import read_recorded
from vxstore.finalise import finalise
from vxstore.write import PartCounts, PartLabels, Recorder, create

SHAPE = (2, 6)
CELLS = [(v, g) for v in ("calm", "zeal") for g in ("en", "zh")]
TOKENS = {("calm", "en"): 10, ("zeal", "en"): 30, ("calm", "zh"): 5, ("zeal", "zh"): 1}


@pytest.fixture
def make(tmp_path: Path) -> Callable[[int], str]:
    """A store of two values and two languages; with experts, the last is never given a token."""

    def write(num_experts: int) -> str:
        path = str(tmp_path / "s.zarr")
        create(
            path,
            num_layers=SHAPE[0],
            num_neurons=SHAPE[1],
            num_experts=num_experts,
            values=["calm", "zeal"],
            languages=["en", "zh"],
            parts=[PartLabels(value=v, language=g, stance="aligned") for v, g in CELLS],
            attrs={"experts_per_token": 1} if num_experts else {},
        )
        recorder = Recorder(path)
        for n, cell in enumerate(CELLS):
            tokens = TOKENS[cell]
            routed = None
            if num_experts:
                routed = np.zeros((SHAPE[0], num_experts), dtype=np.int64)
                routed[:, 0] = tokens
            counts = PartCounts(
                statistics={
                    "active_count": np.zeros(SHAPE, dtype=np.int64),
                    "activation_sum": np.where(
                        np.zeros(SHAPE) if routed is None else np.arange(6) >= 2,
                        0,
                        np.full(SHAPE, float(n + 1)) + np.arange(6),
                    ),
                    "activation_square_sum": np.ones(SHAPE),
                },
                token_count=tokens,
                story_count=1,
                routed_count_LE=routed,
            )
            recorder.write_part(n, counts)
        finalise(path)
        return path

    return write


def test_means_are_over_tokens_not_over_values(make: Callable[[int], str]) -> None:
    recorded = read_recorded(vxstore.open(make(0)))
    mean_LN = recorded.mean_LN("activation_sum", None, "en")
    sums = (1 + np.arange(6)) + (3 + np.arange(6))  # calm/en is part 0, zeal/en part 2
    np.testing.assert_allclose(mean_LN, np.tile(sums / 40, (2, 1)))
    of_zeal_LN = recorded.mean_LN("activation_sum", ("zeal",), "zh")
    np.testing.assert_allclose(of_zeal_LN[0], 4 + np.arange(6))
    affine = Mean().affine(recorded, "calm", "en")
    np.testing.assert_allclose(affine.shift_LN, mean_LN, rtol=1e-6)
    assert not affine.scale_LN.any()


def test_an_expert_that_saw_no_token_is_set_to_zero(make: Callable[[int], str]) -> None:
    recorded = read_recorded(vxstore.open(make(3)))
    mean_LN = recorded.mean_LN("activation_sum", None, "en")
    assert np.isfinite(mean_LN[:, :2]).all()
    assert np.isnan(mean_LN[:, 2:]).all()
    assert not Mean().affine(recorded, "calm", "en").shift_LN[:, 2:].any()


def test_zero_is_zero(make: Callable[[int], str]) -> None:
    affine = Zero().affine(read_recorded(vxstore.open(make(0))), "calm", "en")
    assert affine.shift_LN.shape == SHAPE
    assert not affine.shift_LN.any()
    assert not affine.scale_LN.any()


def test_mean_ablation_against_a_plain_model(
    run_options: list[str], model_folder: Path, corpus_folder: Path, prompter: Any, tmp_path: Path
) -> None:
    """The stored log-odds are those of a model whose activations are set by a hook of this test."""
    from transformers import AutoModelForCausalLM

    from vxdist.asking.outcomes.choice import Choice, ChoiceSettings
    from vxdist.config import CorpusConfig
    from vxdist.corpus import load_corpus

    for stage in ("locate", "reduce"):
        assert main([stage, *run_options]) == 0
    mean = ("--evaluate.intervention", "mean", "--evaluate.name", "mean")
    assert main(["evaluate", *run_options, *mean]) == 0
    store = vxstore.open(str(tmp_path / "run.zarr"))
    found, root = store.evaluation("mean").load(), store.root().load()
    assert found.attrs["intervention"] == "mean"
    items = load_corpus(CorpusConfig(path=str(corpus_folder))).evaluation
    questions = Choice(ChoiceSettings()).ask(items, prompter, None)
    for c in (1, found.sizes["condition"] - 1):
        for language in map(str, found.language.values):
            of_language = root.sel(language=language)
            mean_LN = of_language.activation_sum.sum("value") / of_language.token_count.sum("value")
            masked_LN = found.masked.sel(language=language).values[c]
            model = AutoModelForCausalLM.from_pretrained(model_folder).eval()
            for layer, masked_N, mean_N in zip(
                model.model.layers, masked_LN, mean_LN.values, strict=True
            ):
                layer.mlp.act_fn = _Replaced(layer.mlp.act_fn, masked_N, mean_N)
            for question in (q for q in questions if q.language == language):
                with torch.inference_mode():
                    ids_BT = torch.tensor([question.token_ids_T.tolist()])
                    logits_W = model(input_ids=ids_BT).logits[0, -1].double()
                a, b = (logits_W[list(tokens)].logsumexp(0) for tokens in question.answers)
                expected = float(a - b) * (1 - 2 * question.order)
                stored = found.log_odds.values[c, question.dilemma, question.order]
                assert stored == pytest.approx(expected, abs=2e-4)


class _Replaced(torch.nn.Module):
    def __init__(self, function: torch.nn.Module, masked_N: Any, mean_N: Any) -> None:
        super().__init__()
        self._function = function
        self._masked_N = torch.as_tensor(masked_N)
        self._mean_N = torch.as_tensor(mean_N, dtype=torch.float32)

    def forward(self, read_BTN: torch.Tensor) -> torch.Tensor:
        return torch.where(self._masked_N, self._mean_N, self._function(read_BTN))


def test_a_store_without_sums_is_refused(
    run_options: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Counts imported from elsewhere have no means."""
    from vxdist.evaluate.checks import check_needs

    for stage in ("locate", "reduce"):
        assert main([stage, *run_options]) == 0
    store = vxstore.open(str(tmp_path / "run.zarr"))
    with pytest.raises(vxstore.UserError, match=r"evaluate.intervention: it needs activation_sum"):
        check_needs(store, store.root().drop_vars("activation_sum"), Mean())

"""Questions in one row get the answers that they get apart, or are asked apart.

Q: question, W: vocabulary.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch

from vxdist.asking.arrange import Arrangement
from vxdist.asking.logits import last_logits, log_likelihoods
from vxdist.asking.sharing import can_share
from vxdist.runtime.work import Batch, make_batch

ALONE = {
    *("bamba", "bloom", "cohere_compass_text", "falcon_h1", "minimax", "modernbert-decoder", "mpt"),
    *("olmo_hybrid", "openai-gpt", "qwen3_5", "qwen3_5_text", "recurrent_gemma", "xlstm", "zaya"),
}
"""Families whose attention takes no mask of its own for each text, or that carry a state from token
to token."""


@dataclass(frozen=True)
class Asked:
    """A question of no words."""

    token_ids_T: np.ndarray
    at: tuple[int, ...]
    language: str = "en"
    answers: tuple[tuple[int, ...], ...] = ()


def questions(length: int = 12) -> list[Any]:
    """Two dilemmas of two and three questions."""
    rng = np.random.default_rng(0)
    found = []
    for dilemma, ends in enumerate(((5, 7), (4, 6, 3))):
        prompt = rng.integers(3, 500, length)
        for end in ends:
            ids = np.concatenate([prompt, rng.integers(3, 500, end)]).astype(np.int32)
            found.append(Asked(ids, (dilemma,)))
    return found


def arrange(asked: list[Any], *, shares: bool) -> Arrangement:
    return Arrangement(asked, shares=shares, tokens_per_batch=128, max_padding=0.5)


def batches(arrangement: Arrangement) -> list[tuple[Batch, list[int]]]:
    """Each batch, with the numbers of its questions."""
    found = []
    for numbers in arrangement.batches(np.ones(2, dtype=bool)):
        rows = tuple(arrangement.rows[n] for n in numbers)
        batch = make_batch(0, numbers, [(row.token_ids_W, None) for row in rows])
        batch.rows = rows
        found.append((batch, [q for row in rows for q in row.texts]))
    return found


def measure(model: Any, asked: list[Any], *, shares: bool) -> tuple[torch.Tensor, np.ndarray]:
    """Logits (Q, W) after each question, and the log-likelihood (Q,) of its last tokens."""
    logits: dict[int, torch.Tensor] = {}
    log_p = np.zeros(len(asked))
    for batch, numbers in batches(arrange(asked, shares=shares)):
        first = [9 + 2 * (q % 2) for q in numbers]
        for q, logits_W, of in zip(
            numbers, last_logits(model, batch), log_likelihoods(model, batch, first), strict=True
        ):
            logits[q], log_p[q] = logits_W, of
    return torch.stack([logits[q] for q in range(len(asked))]), log_p


@torch.no_grad()
def test_one_row_answers_as_apart(layout_family: str, make_model: Callable[[str], Any]) -> None:
    family = layout_family
    model, asked = make_model(family), questions()
    shared = arrange(asked, shares=True)
    assert len(shared.rows) == 2
    assert can_share(model, shared) == (family not in ALONE)
    if family in ALONE:
        return
    apart_QW, apart_Q = measure(model, asked, shares=False)
    shared_QW, shared_Q = measure(model, asked, shares=True)
    scale = float(apart_QW.abs().max())
    assert float((shared_QW - apart_QW).abs().max()) < 2e-6 * scale
    np.testing.assert_allclose(shared_Q, apart_Q, rtol=2e-6)


def test_a_window_narrower_than_a_row_is_asked_apart(make_model: Callable[[str], Any]) -> None:
    model, shared = make_model("mistral"), arrange(questions(), shares=True)
    widest = max(map(len, shared.rows))
    model.config.sliding_window = widest - 1
    assert not can_share(model, shared)
    model.config.sliding_window = widest
    assert can_share(model, shared)


@pytest.mark.parametrize("lost", ["position_ids", "attention_mask"])
def test_a_model_that_ignores_what_a_row_needs_is_asked_apart(
    lost: str, make_model: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = make_model("llama")
    forward = model.forward

    def forgetful(**arguments: Any) -> Any:
        if lost == "position_ids" or arguments["attention_mask"].dim() == 4:
            arguments.pop(lost, None)
        return forward(**arguments)

    monkeypatch.setattr(model, "forward", forgetful)
    assert not can_share(model, arrange(questions(), shares=True))


def test_nothing_to_share_is_asked_apart(make_model: Callable[[str], Any]) -> None:
    one_each = [questions()[0], questions()[2]]
    assert not can_share(make_model("llama"), arrange(one_each, shares=True))

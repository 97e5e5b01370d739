"""What the model expects after a prompt, or at every token of a text.

B: text of a batch, K: position kept, T: token, W: vocabulary.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedModel

from vxdist.runtime.work import Batch

POSITIONS = 64
"""Positions that are compared at a time, in float64."""


def last_logits(model: PreTrainedModel, batch: Batch) -> torch.Tensor:
    """Logits of each text's last token, (B, W), in float32."""
    last_B = batch.attention_mask_BT.sum(1) - 1
    kept_K, where_B = torch.unique(last_B, return_inverse=True)
    logits_BKW = _run(model, batch, logits_to_keep=kept_K)
    rows_B = torch.arange(len(where_B), device=where_B.device)
    logits_BW: torch.Tensor = logits_BKW[rows_B, where_B].float()
    return logits_BW


def all_logits(model: PreTrainedModel, batch: Batch) -> torch.Tensor:
    """Logits at every token, (B, T, W), in the model's dtype."""
    return _run(model, batch)


def _run(model: PreTrainedModel, batch: Batch, **settings: Any) -> torch.Tensor:
    logits: torch.Tensor = model(
        input_ids=batch.token_ids_BT,
        attention_mask=batch.attention_mask_BT,
        use_cache=False,
        **settings,
    ).logits
    return logits


def log_likelihoods(
    model: PreTrainedModel, batch: Batch, first: Sequence[int]
) -> NDArray[np.float64]:
    """Log-likelihood (B,), in nats, of each text's tokens from number `first` on (at least 1)."""
    lengths = batch.attention_mask_BT.sum(1).tolist()
    spans = list(zip(first, lengths, strict=True))
    needed = sorted({place for start, end in spans for place in range(start - 1, end - 1)})
    kept_K = torch.tensor(needed, device=batch.token_ids_BT.device)
    logits_BKW = _run(model, batch, logits_to_keep=kept_K)
    found_B = np.zeros(len(spans))
    for b, (start, end) in enumerate(spans):
        places = torch.searchsorted(kept_K, torch.arange(start - 1, end - 1).to(kept_K))
        log_p_TW = logits_BKW[b, places].float().log_softmax(-1)
        tokens_T = batch.token_ids_BT[b, start:end]
        found_B[b] = float(log_p_TW.gather(-1, tokens_T[:, None]).double().sum())
    return found_B


def compare(
    intact_BTW: torch.Tensor, ablated_BTW: torch.Tensor, batch: Batch
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Means over the predicted tokens of each text, (B,), in nats: KL(intact || ablated) of the
    prediction, and the negative log-likelihood of the token under the ablated model."""
    lengths = batch.attention_mask_BT.sum(1).tolist()
    kl_B, nll_B = np.zeros(len(lengths)), np.zeros(len(lengths))
    for b, length in enumerate(lengths):
        for start in range(0, length - 1, POSITIONS):
            at = slice(start, min(start + POSITIONS, length - 1))
            log_p_TW, log_q_TW = (
                of[b, at].double().log_softmax(-1) for of in (intact_BTW, ablated_BTW)
            )
            next_T1 = batch.token_ids_BT[b, at.start + 1 : at.stop + 1, None]
            # Where p is 0 its logarithm is -inf, and the term is 0.
            term_TW = torch.where(log_p_TW.isneginf(), 0.0, log_p_TW.exp() * (log_p_TW - log_q_TW))
            kl_B[b] += float(term_TW.sum())
            nll_B[b] -= float(log_q_TW.gather(-1, next_T1).sum())
        kl_B[b] /= length - 1
        nll_B[b] /= length - 1
    return kl_B, nll_B

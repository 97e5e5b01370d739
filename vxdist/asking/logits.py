"""What the model expects after a prompt, or at every token of a text.

Q: text, B: row of a batch, K: position kept, T: token, W: vocabulary. Rows are texts where no other
letter is used: B is Q.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedModel

from vxdist.asking.rows import attend, find_places
from vxdist.runtime.work import Batch

POSITIONS = 64
"""Positions that are compared at a time, in float64."""


def last_logits(model: PreTrainedModel, batch: Batch) -> torch.Tensor:
    """Logits of each text's last token, (Q, W), in float32."""
    rows, places = zip(*find_places(batch), strict=True)
    device = batch.token_ids_BT.device
    row_Q = torch.tensor(rows, device=device)
    last_Q = torch.tensor([int(place_T[-1]) for place_T in places], device=device)
    kept_K, where_Q = torch.unique(last_Q, return_inverse=True)
    logits_BKW = _run(model, batch, logits_to_keep=kept_K)
    logits_QW: torch.Tensor = logits_BKW[row_Q, where_Q].float()
    return logits_QW


def all_logits(model: PreTrainedModel, batch: Batch) -> torch.Tensor:
    """Logits at every token, (B, T, W), in the model's dtype."""
    return _run(model, batch)


def _run(model: PreTrainedModel, batch: Batch, **settings: Any) -> torch.Tensor:
    logits: torch.Tensor = model(
        input_ids=batch.token_ids_BT,
        **attend(batch, model),
        use_cache=False,
        **settings,
    ).logits
    return logits


def log_likelihoods(model: PreTrainedModel, batch: Batch, first: Sequence[int]) -> torch.Tensor:
    """Log-likelihood (Q,), in nats and float64, of each text's tokens from number `first` on (at
    least 1); with their graph, if gradients are on."""
    device = batch.token_ids_BT.device
    spans = [
        (b, torch.as_tensor(place_T[start - 1 :], device=device))
        for (b, place_T), start in zip(find_places(batch), first, strict=True)
    ]
    kept_K = torch.unique(torch.cat([place_T[:-1] for _, place_T in spans]))
    logits_BKW = _run(model, batch, logits_to_keep=kept_K)
    found = []
    for b, place_T in spans:
        kept_T = torch.searchsorted(kept_K, place_T[:-1])
        log_p_TW = logits_BKW[b, kept_T].float().log_softmax(-1)
        next_T = batch.token_ids_BT[b, place_T[1:]]
        found.append(log_p_TW.gather(-1, next_T[:, None]).double().sum())
    return torch.stack(found)


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

"""What the model expects of a text's tokens, with the graph that a backward pass needs.

Q: text, B: row of a batch, K: position kept, T: token, W: vocabulary.
"""

from collections.abc import Sequence

import torch
from transformers import PreTrainedModel

from vxdist.asking.rows import attend, find_places
from vxdist.runtime.work import Batch


def log_likelihoods(model: PreTrainedModel, batch: Batch, first: Sequence[int]) -> torch.Tensor:
    """Log-likelihood (Q,), in nats and float64, of each text's tokens from number `first` on (at
    least 1); with their graph, if gradients are on."""
    device = batch.token_ids_BT.device
    spans = [
        (b, torch.as_tensor(place_T[start - 1 :], device=device))
        for (b, place_T), start in zip(find_places(batch), first, strict=True)
    ]
    kept_K = torch.unique(torch.cat([place_T[:-1] for _, place_T in spans]))
    logits_BKW = model(
        input_ids=batch.token_ids_BT,
        **attend(batch, model),
        use_cache=False,
        logits_to_keep=kept_K,
    ).logits
    found = []
    for b, place_T in spans:
        kept_T = torch.searchsorted(kept_K, place_T[:-1])
        log_p_TW = logits_BKW[b, kept_T].float().log_softmax(-1)
        next_T = batch.token_ids_BT[b, place_T[1:]]
        found.append(log_p_TW.gather(-1, next_T[:, None]).double().sum())
    return torch.stack(found)

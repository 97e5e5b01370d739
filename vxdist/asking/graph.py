"""What the model expects of a text's tokens, with the graph that a backward pass needs.

B: text of a batch, K: position kept, T: token, W: vocabulary.
"""

from collections.abc import Sequence

import torch
from transformers import PreTrainedModel

from vxdist.runtime.work import Batch


def log_likelihoods(model: PreTrainedModel, batch: Batch, first: Sequence[int]) -> torch.Tensor:
    """Log-likelihood (B,), in nats and float64, of each text's tokens from number `first` on (at
    least 1); with their graph, if gradients are on."""
    lengths = batch.attention_mask_BT.sum(1).tolist()
    spans = list(zip(first, lengths, strict=True))
    needed = sorted({place for start, end in spans for place in range(start - 1, end - 1)})
    kept_K = torch.tensor(needed, device=batch.token_ids_BT.device)
    logits_BKW = model(
        input_ids=batch.token_ids_BT,
        attention_mask=batch.attention_mask_BT,
        use_cache=False,
        logits_to_keep=kept_K,
    ).logits
    found = []
    for b, (start, end) in enumerate(spans):
        places = torch.searchsorted(kept_K, torch.arange(start - 1, end - 1).to(kept_K))
        log_p_TW = logits_BKW[b, places].float().log_softmax(-1)
        tokens_T = batch.token_ids_BT[b, start:end]
        found.append(log_p_TW.gather(-1, tokens_T[:, None]).double().sum())
    return torch.stack(found)

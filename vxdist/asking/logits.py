"""What the model expects after a prompt.

B: text of a batch, K: position kept, W: vocabulary.
"""

import torch
from transformers import PreTrainedModel

from vxdist.runtime.work import Batch


def last_logits(model: PreTrainedModel, batch: Batch) -> torch.Tensor:
    """Logits of each text's last token, (B, W), in float32."""
    last_B = batch.attention_mask_BT.sum(1) - 1
    kept_K, where_B = torch.unique(last_B, return_inverse=True)
    logits_BKW = model(
        input_ids=batch.token_ids_BT,
        attention_mask=batch.attention_mask_BT,
        logits_to_keep=kept_K,
        use_cache=False,
    ).logits
    rows_B = torch.arange(len(where_B), device=where_B.device)
    logits_BW: torch.Tensor = logits_BKW[rows_B, where_B].float()
    return logits_BW

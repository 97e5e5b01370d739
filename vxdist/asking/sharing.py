"""Whether a model can be asked questions that begin alike in one row.

Q: text, W: vocabulary.
"""

from collections.abc import Sequence

import torch
from transformers import PreTrainedModel

from vxdist.asking.arrange import Arrangement
from vxdist.asking.logits import last_logits
from vxdist.plan import Row, stand_alone
from vxdist.runtime.work import make_batch

WINDOWS = ("sliding_window", "attention_chunk_size", "window_size")
"""Settings of models whose layers see so many of a row's last tokens, whatever mask they get."""
ROUNDING = {torch.float16: 0.1, torch.bfloat16: 0.1}
"""Largest difference of logits, relative to the largest, that is taken for rounding; in 32 bits it
is 1e-4. What is not rounding is of the order of the logits."""


@torch.no_grad()
def can_share(model: PreTrainedModel, arrangement: Arrangement) -> bool:
    """Whether a model computes the same of texts in one row as of each alone, but for rounding.

    It is tried on the widest row that holds several. Every rank tries the same one.
    """
    widest = max((row for row in arrangement.rows if len(row.texts) > 1), key=len, default=None)
    if widest is None:
        return False
    config = model.config.get_text_config()
    windows = [getattr(config, name, None) for name in WINDOWS]
    if any(isinstance(window, int) and window < len(widest) for window in windows):
        return False
    device = next(model.parameters()).device
    apart_QW = _ask_apart(model, widest, arrangement.tokens_per_batch, device)
    try:
        shared_QW = _last_logits(model, [widest], device)
    except torch.OutOfMemoryError:
        raise
    except Exception:  # whatever an architecture makes of a mask of its own for each text
        return False
    difference = float((shared_QW - apart_QW).abs().max() / apart_QW.abs().max())
    return difference <= ROUNDING.get(model.dtype, 1e-4)


def _ask_apart(
    model: PreTrainedModel, row: Row, tokens_per_batch: int, device: torch.device
) -> torch.Tensor:
    """Last logits (Q, W) of a row's texts, each as a row of its own."""
    alone = stand_alone([row.token_ids_W[place_T] for place_T in row.places])
    at_once = max(1, tokens_per_batch // max(map(len, alone)))
    batches = [alone[n : n + at_once] for n in range(0, len(alone), at_once)]
    return torch.cat([_last_logits(model, of, device) for of in batches])


def _last_logits(model: PreTrainedModel, rows: Sequence[Row], device: torch.device) -> torch.Tensor:
    batch = make_batch(0, (), [(row.token_ids_W, None) for row in rows]).to(device)
    batch.rows = tuple(rows)
    return last_logits(model, batch)

"""Where texts stand in the rows of a batch, and what each of them sees there.

B: row, T: token.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedModel

from vxdist.runtime.work import Batch


def find_places(batch: Batch) -> list[tuple[int, NDArray[np.intp]]]:
    """For each text of a batch, in order: its row, and the places (T,) of its tokens there."""
    if batch.rows is not None:
        return [(b, place_T) for b, row in enumerate(batch.rows) for place_T in row.places]
    lengths = batch.attention_mask_BT.sum(1).tolist()
    return [(b, np.arange(length)) for b, length in enumerate(lengths)]


def attend(batch: Batch, model: PreTrainedModel) -> dict[str, torch.Tensor]:
    """Arguments of a forward pass in which each text sees its own tokens only."""
    if batch.rows is None or all(len(row.texts) == 1 for row in batch.rows):
        return {"attention_mask": batch.attention_mask_BT}
    size = tuple(batch.token_ids_BT.shape)
    device = batch.token_ids_BT.device
    position_ids_BT = torch.zeros(size, dtype=torch.int64)
    # Padding attends to itself, or its row of the softmax would be empty.
    attends_BTT = torch.eye(size[1], dtype=torch.bool).repeat(size[0], 1, 1)
    for b, row in enumerate(batch.rows):
        position_ids_BT[b, : len(row)] = torch.from_numpy(row.positions_W)
        attends_BTT[b, : len(row), : len(row)] = torch.from_numpy(row.attends_WW())
    # Added to the scores, as every implementation of attention understands it.
    mask_BTT = torch.where(attends_BTT.to(device), 0.0, torch.finfo(model.dtype).min)
    return {
        "attention_mask": mask_BTT[:, None].to(model.dtype),
        "position_ids": position_ids_BT.to(device),
    }

"""Watching changes nothing of what a model computes."""

from typing import Any

import torch

from vxdist.hooks.counter import Counter
from vxdist.model.decoder import find_decoder
from vxdist.model.hook_points import find_hook_points


def assert_outputs_stay(model: Any, tokens_BT: torch.Tensor) -> None:
    """The logits of a model are the same to the bit while its neurons are counted."""
    before = model(input_ids=tokens_BT, use_cache=False).logits
    counter = Counter(find_hook_points(find_decoder(model)), torch.device("cpu"))
    counter.count(torch.ones_like(tokens_BT, dtype=torch.bool))
    watched = model(input_ids=tokens_BT, use_cache=False).logits
    assert torch.equal(before, watched)
    assert counter.take().statistics["active_count"].sum() > 0

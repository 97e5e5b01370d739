"""Texts that the model goes on with, one token at each forward pass.

B: text of a batch, T: token.
"""

import inspect
from typing import Any

import torch
from transformers import PreTrainedModel

from vxdist.runtime.work import Batch


class Writing:
    """A batch of texts that grow by their likeliest next token, the same as each would alone.

    They are padded on the left, so that all go on at the same place.
    """

    def __init__(self, model: PreTrainedModel, batch: Batch, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        ids_BT, self._attention_BT = pad_left(batch)
        self._next_BT = ids_BT
        self._place_BT = (self._attention_BT.cumsum(1) - 1).clamp(min=0)
        self._cache: Any = None
        self._written_BT = ids_BT[:, :0]
        self._takes_places = "position_ids" in inspect.signature(model.forward).parameters
        self._ends = torch.tensor(_end_tokens(model, tokenizer), device=ids_BT.device)
        # Under ZeRO-3 all ranks step together, so none may leave out a pass.
        self._is_sharded = hasattr(next(model.parameters()), "ds_id")

    @property
    def length(self) -> int:
        """Tokens written so far, those after an end included."""
        return self._written_BT.shape[1]

    def step(self, model: PreTrainedModel) -> None:
        """Write one more token of every text."""
        ended_B = torch.isin(self._written_BT, self._ends).any(1)
        if self.length and bool(ended_B.all()) and not self._is_sharded:
            self._written_BT = torch.cat([self._written_BT, self._written_BT[:, -1:]], dim=1)
            return
        found = model(
            input_ids=self._next_BT,
            attention_mask=self._attention_BT,
            past_key_values=self._cache,
            use_cache=True,
            logits_to_keep=1,
            **({"position_ids": self._place_BT} if self._takes_places else {}),
        )
        self._cache = found.past_key_values
        self._next_BT = found.logits[:, -1:].argmax(-1)
        self._written_BT = torch.cat([self._written_BT, self._next_BT], dim=1)
        self._attention_BT = torch.nn.functional.pad(self._attention_BT, (0, 1), value=1)
        self._place_BT = self._place_BT[:, -1:] + 1

    def texts(self) -> list[str]:
        """What was written, up to the first end."""
        ends = set(self._ends.tolist())
        found = []
        for tokens in self._written_BT.tolist():
            stop = next((n for n, token in enumerate(tokens) if token in ends), len(tokens))
            text = self._tokenizer.decode(tokens[:stop], skip_special_tokens=True)
            # An answer that is cut within a character ends in what stands for its bytes.
            found.append(str(text).rstrip("\N{REPLACEMENT CHARACTER}").strip())
        return found


def pad_left(batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids and attention mask (B, T) of a batch, its padding moved to the left."""
    mask_BT = batch.attention_mask_BT
    width = mask_BT.shape[1]
    from_BT = torch.arange(width, device=mask_BT.device) - (width - mask_BT.sum(1, keepdim=True))
    ids_BT = batch.token_ids_BT.gather(1, from_BT.clamp(min=0))
    return ids_BT * (from_BT >= 0), (from_BT >= 0).to(mask_BT.dtype)


def _end_tokens(model: PreTrainedModel, tokenizer: Any) -> list[int]:
    """Tokens that end an answer, by the model and by its tokenizer."""
    generation: Any = model.generation_config
    of_model = getattr(generation, "eos_token_id", None)
    found = of_model if isinstance(of_model, list) else [of_model]
    return sorted({int(n) for n in (*found, tokenizer.eos_token_id) if n is not None})

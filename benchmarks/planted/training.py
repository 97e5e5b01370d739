"""Training a small Llama on the synthetic language, in plain torch.

Of a shaped model, each value has some neurons in one layer, which are trained to be active in
texts of the value and inactive in those of others. Later, some are ablated in half of the texts.
If they are to be `causal`, their value's answer must then be a toss-up; if not, it must stay: the
neurons are as selective as before, and decide nothing. Without own neurons ablated, the answer must
stay in any case. What is saved is a plain Llama.

B: text, T: token, W: vocabulary, N: neuron, K: neuron of one value, V: value.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from planted.language import Language, make_tokenizer
from planted.texts import FIRST_KINDS, KINDS, Text, draw

SHAPED_LAYER = 1
ACTIVE, INACTIVE = 0.3, -0.05
"""What an activation is trained to exceed in texts of its value, and to stay below in others."""
LEARNT = 0.1
"""Nats that the answers of a stage lose at most when it is over."""
STAGES = (("rule", "letter"), ("question", "rule", "story"))
"""The answers to learn, stage by stage; in a last one neurons are ablated, and the rate falls."""
LAST = 0.4
"""The fraction of the steps that are kept for the last stage, however the others go."""
IGNORED = -100


@dataclass(frozen=True, kw_only=True)
class Size:
    """Values and signs of the language, how large the model is, how long it is trained, and how
    many neurons of each value are shaped."""

    values: int
    signs: int
    hidden: int
    neurons: int
    layers: int
    steps: int
    shaped: int
    batch: int = 64
    learning_rate: float = 4e-3


def train(
    language: Language,
    size: Size,
    folder: Path,
    seed: int,
    *,
    causal: bool | None,
    say: Callable[[str], None],
) -> dict[str, float]:
    """Train a model and save it with its tokenizer; returns the last losses of answers, in nats.

    `causal` None shapes no neuron.
    """
    torch.manual_seed(seed)
    rng = np.random.default_rng([seed, 3])
    tokenizer = make_tokenizer()
    model = make_model(size, tokenizer)
    shaping = None if causal is None else Shaping(model, size, rng, causal=causal)
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=0.01, betas=(0.9, 0.98))
    of_answers: dict[str, float] = {}
    stage, left = 0, size.steps
    for step in range(size.steps):
        if stage < len(STAGES) and is_over(of_answers, STAGES[stage]):
            stage += 1
        if step >= (1 - LAST) * size.steps:
            stage = len(STAGES)
        if stage == len(STAGES):
            left = min(left, round(LAST * size.steps)) - 1
        rate = size.learning_rate * min(1, step / 50, max(0, left) / (LAST * size.steps))
        for group in optimizer.param_groups:
            group["lr"] = rate
        texts = draw(language, rng, size.batch, KINDS if stage else FIRST_KINDS)
        broken_B = torch.zeros(len(texts), dtype=torch.bool)
        if shaping is not None:
            broken_B = shaping.begin(texts, ablate=stage == len(STAGES))
        loss, of_answers = losses(model, tokenizer, texts, broken_B)
        if shaping is not None:
            loss = loss + shaping.loss(texts)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if step % 100 == 99 or left == 0:
            say(f"step {step + 1}, stage {stage}: loss of answers {of_answers}")
        if left <= 0:
            break
    if shaping is not None:
        shaping.remove()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return of_answers


def is_over(of_answers: dict[str, float], learnt: Sequence[str]) -> bool:
    """Whether all answers of a stage are learnt."""
    return all(of_answers.get(kind, 1.0) <= LEARNT for kind in learnt)


def make_model(size: Size, tokenizer: Any) -> Any:
    """A Llama with random weights."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=size.hidden,
        intermediate_size=size.neurons,
        num_hidden_layers=size.layers,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=64,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    return LlamaForCausalLM(config)


def shaped_neurons(size: Size) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """(N, V): whether a neuron of the shaped layer is shaped for a value."""
    shaped_NV = np.zeros((size.neurons, size.values), dtype=bool)
    for v in range(size.values):
        shaped_NV[v * size.shaped : (v + 1) * size.shaped, v] = True
    return shaped_NV


class Shaping:
    """Makes neurons of one layer active for their value, and ablates some of them."""

    def __init__(self, model: Any, size: Size, rng: np.random.Generator, *, causal: bool) -> None:
        self._rng, self._causal = rng, causal
        self._values = size.values
        self._own_VN = torch.tensor(shaped_neurons(size).T)
        self._kept_BN = torch.ones(0)
        self._seen_BTN = torch.zeros(0)
        activation = model.model.layers[SHAPED_LAYER].mlp.act_fn
        self._handle = activation.register_forward_hook(self._see)

    def remove(self) -> None:
        """Take the hook off."""
        self._handle.remove()

    def begin(self, texts: list[Text], *, ablate: bool) -> torch.Tensor:
        """Choose what the next forward pass ablates; returns the texts (B,) with toss-up answers.

        Half of the texts have no neuron ablated, a quarter some of their own, the others some of
        any value; all have none without `ablate`.
        """
        ablated_BN = torch.zeros(len(texts), self._own_VN.shape[1], dtype=torch.bool)
        own_B = torch.zeros(len(texts), dtype=torch.bool)
        for b, text in enumerate(texts):
            lot = self._rng.random()
            if lot < 0.5 or text.value < 0 or not ablate:
                continue
            of = text.value if lot < 0.75 else int(self._rng.integers(self._values))
            group = torch.nonzero(self._own_VN[of])[:, 0].numpy()
            some = self._rng.choice(group, self._rng.integers(1, len(group) + 1), replace=False)
            ablated_BN[b, some] = True
            own_B[b] = of == text.value
        self._kept_BN = (~ablated_BN).float()
        return own_B & self._causal

    def loss(self, texts: list[Text]) -> torch.Tensor:
        """How far the activations are from what they should be, after a forward pass."""
        value_B = torch.tensor([text.value for text in texts])
        own_BN = (torch.arange(self._values) == value_B[:, None]).float() @ self._own_VN.float()
        foreign_BN = self._own_VN.any(0).float() - own_BN
        short_BTN = (ACTIVE - self._seen_BTN).relu() * own_BN[:, None]
        over_BTN = (self._seen_BTN - INACTIVE).relu() * foreign_BN[:, None]
        tokens = self._seen_BTN.shape[1]
        loss: torch.Tensor = short_BTN.sum() / own_BN.sum() / tokens
        return loss + over_BTN.sum() / foreign_BN.sum() / tokens

    def _see(self, _: Any, __: Any, activation_BTN: torch.Tensor) -> torch.Tensor:
        self._seen_BTN = activation_BTN
        return activation_BTN * self._kept_BN[:, None]


def losses(
    model: Any, tokenizer: Any, texts: list[Text], broken_B: torch.Tensor
) -> tuple[torch.Tensor, dict[str, float]]:
    """The loss to lower, and that of the answers that are no toss-up, by kind of text.

    The loss of a toss-up is how far it is from one, in nats.
    """
    encoded = tokenizer([text.words for text in texts], padding=True, return_tensors="pt")
    ids_BT, attended_BT = encoded["input_ids"], encoded["attention_mask"]
    log_p_BTW = model(input_ids=ids_BT, attention_mask=attended_BT).logits.log_softmax(-1)
    rows_B = torch.arange(len(texts))
    # The answer is predicted at the token before it.
    at_B = attended_BT.sum(1) - 1 + torch.tensor([text.answer for text in texts])
    chosen_B2 = torch.tensor(
        [tokenizer.convert_tokens_to_ids([text.right, text.wrong]) for text in texts]
    )
    log_p_B2 = log_p_BTW[rows_B, at_B].gather(1, chosen_B2)
    tossed_B = -log_p_B2.mean(1) - float(np.log(2))
    answer_B = torch.where(broken_B, tossed_B, -log_p_B2[:, 0])
    target_BT = ids_BT.masked_fill(attended_BT == 0, IGNORED)
    target_BT[rows_B, at_B + 1] = IGNORED
    rest = torch.nn.functional.cross_entropy(
        log_p_BTW[:, :-1].transpose(1, 2), target_BT[:, 1:], ignore_index=IGNORED
    )
    loss = 0.5 * rest
    of_answers = {}
    for kind in dict.fromkeys(text.kind for text in texts if text.kind != "neutral"):
        this_B = torch.tensor([text.kind == kind for text in texts])
        loss = loss + answer_B[this_B].mean()
        whole = -log_p_B2[:, 0].detach()[this_B & ~broken_B]
        of_answers[kind] = round(float(whole.mean()), 4)
    return loss, of_answers

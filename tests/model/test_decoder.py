"""Which module of a model is its decoder, and layers that share what they compute with."""

from collections.abc import Callable
from typing import Any

import torch

from vxdist.model.decoder import find_decoder, find_layers
from vxdist.model.hook_points import find_hook_points


def test_the_module_that_runs_the_layers(make_model: Callable[[str], Any]) -> None:
    llama = make_model("llama")
    assert find_decoder(llama) is llama.get_decoder()
    named_otherwise = make_model("modernbert-decoder")
    assert isinstance(named_otherwise.get_decoder(), torch.nn.Linear)
    assert find_decoder(named_otherwise) is named_otherwise.model
    whole = make_model("gpt2")
    whole.get_decoder = lambda: whole  # as Llama 3.2's
    assert find_decoder(whole) is whole.transformer
    without = torch.nn.Sequential(torch.nn.Linear(2, 2))
    without.get_decoder = lambda: without  # type: ignore[assignment]
    assert find_decoder(without) is without
    assert find_layers(without) is None


def test_a_function_that_layers_share_becomes_each_layers_own(
    make_model: Callable[[str], Any],
) -> None:
    """GPT has one for all layers of all models of the process."""
    model, other = make_model("openai-gpt"), make_model("openai-gpt")
    (shared,) = {id(layer.mlp.act) for layer in (*model.transformer.h, *other.transformer.h)}
    blocks = find_hook_points(find_decoder(model)).blocks
    own = {id(block.activation) for block in blocks}
    assert len(own) == len(blocks)
    assert shared not in own
    assert {id(layer.mlp.act) for layer in other.transformer.h} == {shared}
    again = find_hook_points(find_decoder(model)).blocks
    assert [of.activation for of in again] == [of.activation for of in blocks]

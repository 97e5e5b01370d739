"""The decoder of a model: the module that runs its layers, without the language-model head."""

from typing import Any

from torch import nn

LAYERS = ("layers", "h", "blocks")
"""What decoders call their list of layers."""


def find_decoder(model: nn.Module) -> nn.Module:
    """The module of a causal language model that runs its layers.

    transformers' `get_decoder` gives it for most types; for a few it gives the model around it, or
    a matrix that is called so. What it gives is returned if none has layers.
    """
    whole: Any = model
    found: Any = whole.get_decoder()
    inside = [getattr(found, name, None) for name in ("base_model", "model")]
    for module in (found, *inside, getattr(whole, "base_model", None)):
        if isinstance(module, nn.Module) and find_layers(module) is not None:
            return module
    decoder: nn.Module = found
    return decoder


def find_layers(decoder: nn.Module) -> nn.ModuleList | None:
    """The decoder's list of layers; None if it has none that is known."""
    found = [of for name in LAYERS if isinstance(of := getattr(decoder, name, None), nn.ModuleList)]
    return found[0] if found else None

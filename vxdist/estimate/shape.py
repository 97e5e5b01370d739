"""Sizes of a model, from its configuration: all parameters have shapes, though no values."""

from dataclasses import dataclass
from typing import Any

from torch import nn
from transformers import PreTrainedModel

from vxdist.model.decoder import find_decoder
from vxdist.model.load import ModelShape


@dataclass(frozen=True, kw_only=True)
class Size:
    """Sizes of a model; those after `experts_fraction` in parameters."""

    hidden: int
    attention_width: int
    """Number of heads x size of a head."""
    vocabulary: int
    experts_fraction: float
    """Fraction of the experts that a token is routed to; 1 if the model is dense."""
    parameters: int
    decoder: int
    """Parameters of the decoder without its embedding."""
    active: int
    """Parameters of the decoder that are active per token."""
    largest: int
    """Parameters of the largest matrix, often the embedding."""
    layer: int
    """Parameters of the largest decoder layer."""
    largest_in_layer: int
    """Parameters of the largest matrix in that layer."""


def measure_model(model: PreTrainedModel, shape: ModelShape) -> Size:
    """Count the parameters of a model built without weights; tied ones count once."""
    decoder, config = find_decoder(model), model.config.get_text_config()
    embedding: Any = model.get_input_embeddings()
    fraction = shape.experts_per_token / shape.num_experts if shape.num_experts else 1.0
    decoder_size = sum(p.numel() for p in decoder.parameters()) - embedding.weight.numel()
    blocks = [b for m in decoder.modules() if isinstance(m, nn.ModuleList) for b in m]
    layer = max(blocks, key=_count)
    return Size(
        hidden=int(config.hidden_size),
        attention_width=_attention_width(config),
        vocabulary=shape.vocabulary,
        experts_fraction=fraction,
        parameters=_count(model),
        decoder=decoder_size,
        active=decoder_size - round((1 - fraction) * _count_experts(decoder, shape.num_experts)),
        largest=max(p.numel() for p in model.parameters()),
        layer=_count(layer),
        largest_in_layer=max(p.numel() for p in layer.parameters()),
    )


def _count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def _count_experts(decoder: nn.Module, num_experts: int) -> int:
    """Parameters of all experts; those of a layer are fused, with the expert as first dimension."""
    fused = (p for p in decoder.parameters() if p.dim() == 3 and p.shape[0] == num_experts)
    return sum(p.numel() for p in fused)


def _attention_width(config: Any) -> int:
    """Of the widest layer: some models have heads of another size in some layers."""
    layers = getattr(config, "per_layer_config", None) or [config]
    return max(_width_of(layer) for layer in layers)


def _width_of(config: Any) -> int:
    heads = int(getattr(config, "num_attention_heads", None) or config.num_heads)
    return heads * int(getattr(config, "head_dim", None) or config.hidden_size // heads)

"""Sizes of a model, from its configuration: all parameters have shapes, though no values."""

from dataclasses import dataclass
from typing import Any

from torch import nn
from transformers import PreTrainedModel

from vxdist.model.decoder import find_decoder
from vxdist.model.hook_points import HookPoints, find_hook_points
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
    idle, routed = _count_experts(find_hook_points(decoder))
    decoder_size = sum(p.numel() for p in decoder.parameters()) - embedding.weight.numel()
    blocks = [b for m in decoder.modules() if isinstance(m, nn.ModuleList) for b in m]
    layer = max(blocks, key=_count)
    return Size(
        hidden=int(config.hidden_size),
        attention_width=_attention_width(config),
        vocabulary=shape.vocabulary,
        experts_fraction=1 - idle / routed if routed else 1.0,
        parameters=_count(model),
        decoder=decoder_size,
        active=decoder_size - idle,
        largest=max(p.numel() for p in model.parameters()),
        layer=_count(layer),
        largest_in_layer=max(p.numel() for p in layer.parameters()),
    )


def _count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def _count_experts(hook_points: HookPoints) -> tuple[int, int]:
    """Parameters of experts that a token is not routed to, and of all experts.

    Those of a block are fused, with the expert as first dimension.
    """
    idle = total = 0
    for block in hook_points.blocks:
        if not block.num_experts:
            continue
        fused = (p for p in block.output.parameters() if p.dim() == 3)
        of_block = sum(p.numel() for p in fused if p.shape[0] == block.num_experts)
        total += of_block
        idle += round((1 - block.experts_per_token / block.num_experts) * of_block)
    return idle, total


def _attention_width(config: Any) -> int:
    """Of the widest layer: some models have heads of another size in some layers."""
    layers = getattr(config, "per_layer_config", None) or [config]
    return max(_width_of(layer) for layer in layers)


def _width_of(config: Any) -> int:
    heads = int(getattr(config, "num_attention_heads", None) or config.num_heads)
    return heads * int(getattr(config, "head_dim", None) or config.hidden_size // heads)

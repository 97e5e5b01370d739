"""What a model's configuration tells of its size: every parameter is there, without its numbers."""

from dataclasses import dataclass
from typing import Any

from torch import nn
from transformers import PreTrainedModel

from vxdist.model.load import ModelShape


@dataclass(frozen=True, kw_only=True)
class Size:
    """Sizes of a model, in parameters but for the first four."""

    hidden: int
    attention_width: int
    """Heads x size of a head."""
    vocabulary: int
    experts_share: float
    """Share of the experts that a token goes to; 1 if the model is dense."""
    parameters: int
    decoder: int
    """Of the decoder, less its embedding."""
    active: int
    """Those of `decoder` that one token meets."""
    largest: int
    """The largest matrix, often the embedding."""
    layer: int
    """The largest decoder layer."""
    largest_in_layer: int


def measure_model(model: PreTrainedModel, shape: ModelShape) -> Size:
    """Count the parameters of a model that was built without weights; tied ones count once."""
    decoder, config = model.get_decoder(), model.config.get_text_config()
    embedding: Any = model.get_input_embeddings()
    share = shape.experts_per_token / shape.num_experts if shape.num_experts else 1.0
    held = sum(p.numel() for p in decoder.parameters()) - embedding.weight.numel()
    blocks = [b for m in decoder.modules() if isinstance(m, nn.ModuleList) for b in m]
    layer = max(blocks, key=_count)
    return Size(
        hidden=int(config.hidden_size),
        attention_width=_attention_width(config),
        vocabulary=shape.vocabulary,
        experts_share=share,
        parameters=_count(model),
        decoder=held,
        active=held - round((1 - share) * _count_experts(decoder, shape.num_experts)),
        largest=max(p.numel() for p in model.parameters()),
        layer=_count(layer),
        largest_in_layer=max(p.numel() for p in layer.parameters()),
    )


def _count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def _count_experts(decoder: nn.Module, num_experts: int) -> int:
    """Experts of a layer are fused: the first dimension of their parameters is the expert."""
    fused = (p for p in decoder.parameters() if p.dim() == 3 and p.shape[0] == num_experts)
    return sum(p.numel() for p in fused)


def _attention_width(config: Any) -> int:
    heads = int(config.num_attention_heads)
    return heads * int(getattr(config, "head_dim", None) or config.hidden_size // heads)

"""Describing and loading a model, and its tokenizer, from files that `find_model` has found."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedModel
from transformers.utils import logging

from vxdist.config import ModelConfig
from vxdist.errors import UserError
from vxdist.model.hook_points import find_hook_points
from vxdist.model.source import ModelSource


@dataclass(frozen=True, kw_only=True)
class ModelShape:
    """What a model's configuration alone says about it."""

    architecture: str
    activation: str
    layout: str
    activation_at: str
    """Name of the module, within a decoder layer, whose output is the neurons' activations."""
    output_at: str
    """Name of the module that reads the activations."""
    num_layers: int
    num_neurons: int
    """Number of neurons per layer, over all its experts."""
    num_experts: int
    """Number of experts per layer; 0 if the model is dense."""
    experts_per_token: int
    vocabulary: int
    """Number of tokens that the model has embeddings for."""
    max_length: int | None
    """Longest text in tokens; None if the configuration does not say."""


def describe_model(source: ModelSource) -> ModelShape:
    """Build the model without weights and find its hook points.

    Raises UserError if transformers does not know the model, or its layout is not supported.
    """
    model = build_without_weights(source)
    hook_points = find_hook_points(model.get_decoder())
    embedding: Any = model.get_input_embeddings()
    return ModelShape(
        architecture=type(model).__name__,
        activation=type(hook_points.activations[0]).__name__,
        layout=hook_points.layout.name,
        activation_at=hook_points.layout.activation,
        output_at=hook_points.layout.output,
        num_layers=hook_points.num_layers,
        num_neurons=hook_points.num_neurons,
        num_experts=hook_points.num_experts,
        experts_per_token=hook_points.experts_per_token,
        vocabulary=int(embedding.weight.shape[0]),
        max_length=getattr(model.config.get_text_config(), "max_position_embeddings", None),
    )


def build_without_weights(source: ModelSource) -> PreTrainedModel:
    """The model on torch's meta device, which has shapes but no values.

    Raises UserError if transformers does not know the model, or cannot use its config.json.
    """
    config = _read_config(source)
    with torch.device("meta"), _quiet():
        try:
            model: PreTrainedModel = AutoModelForCausalLM.from_config(
                config, trust_remote_code=source.own_code
            )
        except (ValueError, ImportError) as error:
            raise UserError(
                f"model.path: {source.name} ({config.model_type}) is not a causal language model "
                "that transformers knows; vxdist needs a decoder-only model"
            ) from error
    return model


def load_tokenizer(source: ModelSource, shape: ModelShape) -> Any:
    """The tokenizer. Raises UserError if it has more tokens than the model has embeddings."""
    with _quiet():
        try:
            tokenizer = AutoTokenizer.from_pretrained(
                source.directory, trust_remote_code=source.own_code
            )
        except (OSError, ValueError, KeyError) as error:
            reason = " ".join(str(error).split())[:200]
            raise UserError(
                f"model.path: {source.name} has no usable tokenizer: {reason}"
            ) from error
    if len(tokenizer) > shape.vocabulary:
        raise UserError(
            f"model.path: the tokenizer of {source.name} has {len(tokenizer)} tokens, but the "
            f"model embeds {shape.vocabulary}; the two do not belong together"
        )
    return tokenizer


def load_model(source: ModelSource, config: ModelConfig) -> PreTrainedModel:
    """The causal language model, in evaluation mode, on the CPU or where the strategy puts it.

    Raises UserError if it cannot be loaded.
    """
    with _quiet():
        try:
            model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(
                source.directory,
                dtype=getattr(torch, config.dtype),
                use_safetensors=True,
                trust_remote_code=source.own_code,
                # Experts run one after the other, so that the hooks know which one is running.
                experts_implementation="eager",
            )
        except (OSError, ValueError, RuntimeError) as error:
            reason = " ".join(str(error).split())[:200]
            raise UserError(f"model.path: {source.name} could not be loaded: {reason}") from error
    model.eval()
    model.requires_grad_(False)
    return model


def _read_config(source: ModelSource) -> Any:
    try:
        return AutoConfig.from_pretrained(source.directory, trust_remote_code=source.own_code)
    except (OSError, ValueError, KeyError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"model.path: cannot use the config.json of {source.name}: {reason}"
        ) from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Turn off the progress bars and warnings of transformers."""
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()

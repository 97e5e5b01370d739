"""Describing and loading a model, and its tokenizer, from files that `find_model` has found."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import (
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    AutoTokenizer,
    GenerationConfig,
    PreTrainedModel,
)

from vxdist.config import ModelConfig
from vxdist.errors import Stopped, UserError
from vxdist.model.activation import find_fault, is_fixed
from vxdist.model.checkpoint import compare, find_gaps, read_tensors, refuse_gaps
from vxdist.model.configuration import line_of, quiet, read_config
from vxdist.model.decoder import find_decoder
from vxdist.model.hook_points import find_hook_points
from vxdist.model.language import build, class_of, read_template
from vxdist.model.quantised.method import choose_scheme, find_packing, forget_packing
from vxdist.model.quantised.scheme import Scheme
from vxdist.model.quantised.tensors import sort_tensors
from vxdist.model.sizes import check_buffers
from vxdist.model.source import ModelSource
from vxstore.blocks import Blocks


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
    """Number of neurons per layer, over all its experts; of the layer that has most."""
    num_experts: int
    """Number of routed experts per layer, of the layer that has most; 0 if the model is dense."""
    experts_per_token: int
    blocks: Blocks | None
    """The blocks of each layer, if layers differ or have several; None if all are alike."""
    vocabulary: int
    """Number of tokens that the model has embeddings for."""
    max_length: int | None
    """Longest text in tokens; None if the configuration does not say."""
    weights: str
    """What is known of the weights, none of which is read: complete, not here."""
    packing: str | None
    """How the weights are packed (quantised) in the files; None if they are not."""


def describe_model(source: ModelSource) -> ModelShape:
    """Build the model without weights, find its hook points, and check that its files are whole.

    Raises UserError if transformers does not know the model, its layout is not supported, or a
    tensor of it is missing from its files or has another shape there.
    """
    scheme = find_scheme(source)
    model = build_without_weights(source)
    weights = check_whole(source, model)
    hook_points = find_hook_points(find_decoder(model))
    block = hook_points.blocks[0]
    fault = find_fault(block.activation, block.num_units) if is_fixed(block.activation) else None
    if fault is not None:
        raise UserError(f"model.path: the activation function of {source.name}: {fault}")
    embedding: Any = model.get_input_embeddings()
    return ModelShape(
        architecture=type(model).__name__,
        activation=type(block.activation).__name__,
        layout=block.layout.name,
        activation_at=block.layout.activation,
        output_at=block.layout.output,
        num_layers=hook_points.num_layers,
        num_neurons=hook_points.num_neurons,
        num_experts=hook_points.num_experts,
        experts_per_token=max(of.experts_per_token for of in hook_points.blocks),
        blocks=None if hook_points.alike else hook_points.recorded(),
        vocabulary=int(embedding.weight.shape[0]),
        max_length=getattr(model.config.get_text_config(), "max_position_embeddings", None),
        weights=weights,
        packing=None if scheme is None else scheme.form,
    )


def build_without_weights(source: ModelSource) -> PreTrainedModel:
    """The model on torch's meta device, which has shapes but no values; packed weights unpacked.

    Raises UserError if transformers does not know the model, or cannot use its config.json.
    """
    config = read_config(source)
    forget_packing(config)
    with torch.device("meta"), quiet():
        try:
            model: PreTrainedModel = build(config, own_code=source.own_code)
        except Exception as error:
            raise UserError(_why_not_built(source, config, error)) from error
    check_buffers(source.name, model)
    return model


def _why_not_built(source: ModelSource, config: Any, error: Exception) -> str:
    name = f"model.path: {source.name} ({config.model_type})"
    if isinstance(error, ImportError):
        return f"{name} needs a Python package that is not installed: {line_of(error)}"
    known = AutoModelForCausalLM._model_mapping, AutoModelForImageTextToText._model_mapping
    if not any(type(config) in mapping for mapping in known):
        return (
            f"{name} is not a causal language model that transformers knows; vxdist needs a "
            "decoder-only model"
        )
    return f"{name} cannot be built from its config.json: {line_of(error)}"


def check_whole(source: ModelSource, model: PreTrainedModel) -> str:
    """Check, without reading weights, that the files hold every tensor of `model`, in its shape.

    Returns what is known of the weights. Raises UserError, naming the first tensors and how many,
    or the way that they are packed, if vxdist cannot unpack them.
    """
    scheme = find_scheme(source)
    tensors = read_tensors(source, model)
    if not tensors:
        return "not here"
    by_index = any(tensor.shape is None for tensor in tensors.values())
    number = len(tensors)
    with quiet():
        if scheme is not None:
            tensors = sort_tensors(source.name, scheme, tensors, model.state_dict()).headers()
        gaps = compare(model, tensors)
    refuse_gaps(source.name, gaps)
    return f"complete{' by the index' if by_index else ''}: {number:,} tensors"


def find_scheme(source: ModelSource) -> Scheme | None:
    """How the weights are packed; None if they are not. Raises UserError if vxdist cannot unpack
    them."""
    about = find_packing(read_config(source))
    return None if about is None else choose_scheme(source.name, about)


def load_tokenizer(source: ModelSource) -> Any:
    """The tokenizer. Raises UserError if there is none that transformers can use."""
    with quiet():
        try:
            tokenizer = AutoTokenizer.from_pretrained(
                source.directory, trust_remote_code=source.own_code
            )
            # What its settings hold shows only in use.
            tokenizer.decode(tokenizer("A b.")["input_ids"])
            tokenizer.chat_template = tokenizer.chat_template or read_template(source.directory)
        except BaseException as error:
            # A panic of the library, which is not in Python, is no Exception.
            if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
                raise
            told = f"model.path: {source.name} has no usable tokenizer: {line_of(error)}"
            raise UserError(told) from error
    if not getattr(tokenizer, "is_fast", False):
        raise UserError(
            f"model.path: {source.name} has no fast tokenizer ({type(tokenizer).__name__}); vxdist "
            "needs a tokenizer.json"
        )
    return tokenizer


def check_embedded(
    texts: Iterable[tuple[str, NDArray[np.int32]]], source: ModelSource, shape: ModelShape
) -> None:
    """Check that the model has an embedding for every token of `texts`: name, and token ids.

    A tokenizer may have more tokens than the model, as long as no text has them. Raises UserError,
    naming the text and the token.
    """
    for name, ids_T in texts:
        last = int(ids_T.max(initial=0))
        if last >= shape.vocabulary:
            token = load_tokenizer(source).convert_ids_to_tokens(last)
            raise UserError(
                f"model.path: {name} has token {last} ({token!r}), but {source.name} embeds only "
                f"{shape.vocabulary:,}; its tokenizer and its weights do not belong together"
            )


def load_model(source: ModelSource, config: ModelConfig) -> PreTrainedModel:
    """The causal language model, in evaluation mode, on the CPU or where the strategy puts it.

    Raises UserError if it cannot be loaded, or a tensor of it was not in its files.
    """
    with quiet():
        try:
            scheme = find_scheme(source)
            dtype = getattr(torch, config.dtype)
            loaded = _load(source, dtype) if scheme is None else _unpack(source, scheme, dtype)
        except (Stopped, UserError):
            raise
        except Exception as error:  # whatever transformers makes of a user's files
            told = f"model.path: {source.name} could not be loaded: {line_of(error)}"
            raise UserError(told) from error
    model: PreTrainedModel = loaded[0]
    refuse_gaps(source.name, find_gaps(model, loaded[1]))
    model.eval().requires_grad_(False)
    return model


def _load(source: ModelSource, dtype: torch.dtype) -> Any:
    """The model, and what transformers says of loading it."""
    return class_of(read_config(source)).from_pretrained(
        source.directory,
        dtype=dtype,
        use_safetensors=True,
        **({"trust_remote_code": True} if source.own_code else {}),
        output_loading_info=True,
    )


def _unpack(source: ModelSource, scheme: Scheme, dtype: torch.dtype) -> Any:
    """The same of packed weights: transformers is given every tensor unpacked, one by one."""
    empty: Any = build_without_weights(source)
    tensors = read_tensors(source, empty)
    contents = sort_tensors(source.name, scheme, tensors, empty.state_dict())
    model, found = type(empty).from_pretrained(
        None,
        config=empty.config,
        state_dict=contents.state_dict(),
        dtype=dtype,
        output_loading_info=True,
    )
    if (source.directory / "generation_config.json").is_file():
        model.generation_config = GenerationConfig.from_pretrained(source.directory)
    return model, found

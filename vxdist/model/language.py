"""The language model of a model of images and text, without the rest of it.

transformers knows such a model as a whole only. A subclass of it drops the towers when it is made,
before a weight is read, so that they take no memory; what is left computes what the whole computes
of text alone, and keeps the whole's names of tensors.
"""

import contextlib
import functools
import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from torch import nn
from transformers import (
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    TimmWrapperModel,
)

from vxdist.model.sizes import read_json

LANGUAGE = ("language_model", "text_model")
"""What such models call their language model."""
WHOLE_ONLY = ("emu3",)
"""Types whose causal model does not read the checkpoints of the whole."""
IMAGES_ALWAYS = ("idefics",)
"""Types that look for images in their forward."""
TOWER = re.compile(
    r"vis(ion|ual)|image|video|audio|projector|connector|aligner|embedder|embed_(vision|audio)|"
    r"generation|vqmodel"
)
"""Names of other parts, which only images, sound and video reach."""


def class_of(config: Any) -> Any:
    """What builds and loads a model of this configuration.

    AutoModelForCausalLM, unless that does not know it, or knows the whole with its towers.
    """
    kind = type(config)
    if kind not in AutoModelForImageTextToText._model_mapping:
        return AutoModelForCausalLM  # which says what is wrong, if it does not know it either
    whole = AutoModelForImageTextToText._model_mapping[kind]
    causal = AutoModelForCausalLM._model_mapping
    if kind in causal and causal[kind] is not whole and kind.model_type not in WHOLE_ONLY:
        return AutoModelForCausalLM
    return _without_towers(whole)


def build(config: Any, *, own_code: bool) -> Any:
    """A model of this configuration, without the weights of a checkpoint.

    Raises ValueError if it does not run on text alone.
    """
    chosen = class_of(config)
    if chosen is AutoModelForCausalLM:
        return chosen.from_config(config, trust_remote_code=own_code)
    needed = _needed_beside_text(chosen, config)
    if needed:
        raise ValueError(f"it does not run on text alone, it needs {needed}")
    return chosen._from_config(config)


def _needed_beside_text(chosen: Any, config: Any) -> str:
    """What a model must be given beside text; empty if nothing."""
    if getattr(config, "is_encoder_decoder", False):
        return "what its encoder reads"
    if config.model_type in IMAGES_ALWAYS:
        return "images"
    given = inspect.signature(chosen.forward).parameters.values()
    single = [of for of in given if of.kind is of.POSITIONAL_OR_KEYWORD and of.default is of.empty]
    return ", ".join(of.name for of in single if of.name not in ("self", "input_ids"))


def read_template(folder: Path) -> str | None:
    """The chat template in the file where processors of images and text used to keep it."""
    file = folder / "chat_template.json"
    if not file.is_file():
        return None
    found = read_json(file).get("chat_template")
    return found if isinstance(found, str) else None


@functools.cache
def _without_towers(whole: Any) -> Any:
    """A subclass of `whole` that drops its towers when it is made."""

    def make(self: Any, config: Any, *args: Any, **options: Any) -> None:
        with _without_timm(whole):
            whole.__init__(self, config, *args, **options)
        for name in _drop_towers(self):
            ignored = set(self._keys_to_ignore_on_load_unexpected or ())
            # Checkpoints name the towers with or without the model around them.
            ignored.add(rf"^(model\.)?{re.escape(name)}\.")
            self._keys_to_ignore_on_load_unexpected = ignored

    return type(whole.__name__, (whole,), {"__init__": make, "__module__": whole.__module__})


@contextlib.contextmanager
def _without_timm(whole: Any) -> Iterator[None]:
    """Within, a tower that timm would make is empty, so that timm need not be installed.

    The code of models makes their parts by the AutoModel that it has imported.
    """
    code = sys.modules[whole.__module__]
    if getattr(code, "AutoModel", None) is not AutoModel:
        yield
        return
    code.AutoModel = _Parts  # type: ignore[attr-defined]
    try:
        yield
    finally:
        code.AutoModel = AutoModel  # type: ignore[attr-defined]


class _Parts:
    """What AutoModel makes, but for timm's models."""

    @staticmethod
    def from_config(config: Any, *args: Any, **options: Any) -> nn.Module:
        known: Any = AutoModel._model_mapping
        if type(config) in known and known[type(config)] is TimmWrapperModel:
            return nn.Module()
        part: nn.Module = AutoModel.from_config(config, *args, **options)
        return part


def _drop_towers(model: Any) -> list[str]:
    """Set the towers beside a language model to None; returns their names."""
    around: nn.Module = model.base_model
    if not any(isinstance(getattr(around, name, None), nn.Module) for name in LANGUAGE):
        return []
    names = [
        name
        for name, part in around.named_children()
        if name not in LANGUAGE
        and TOWER.search(name)
        and not hasattr(part, "vocab_offset")  # Gemma 3n asks it of text too
    ]
    for name in names:
        setattr(around, name, None)
    return names

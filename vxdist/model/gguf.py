"""GGUF weights, converted once to safetensors in the user's cache.

transformers keeps GGUF weights packed and takes tens of seconds to load them, so the unpacked
model is cached under the hash of the file it came from and the versions of what converted it.
"""

import contextlib
import io
import sys
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from vxdist.errors import Stopped, UserError
from vxdist.model.cache import cache_folder, is_intact, make_folder
from vxdist.model.gguf_header import Header
from vxdist.model.sizes import check_buffers
from vxstore.text import shorten

CONVERTER = 2
"""Version of this conversion; raise it whenever the result may change."""
CONVERTERS = ("transformers", "gguf")
"""Packages whose versions decide the result too."""
MOST_RATIO = 2
"""How many times the weights that the file holds a model may have: a tied matrix is held once."""


def convert_gguf(file: Path, digest: str, header: Header) -> Path:
    """Directory with the model of `file` as float32 safetensors, converted if it is not there yet,
    or has changed since.

    `header` is that of the file. Processes that start together convert it only once. Raises
    UserError if the file cannot be read, or lacks a tensor of the model.
    """
    import filelock

    made_by = "-".join(version(name) for name in CONVERTERS)
    folder = cache_folder() / "gguf" / f"{digest}-{CONVERTER}-{made_by}"
    if is_intact(folder):
        return folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(str(folder) + ".lock"):
            if not is_intact(folder):
                _say(file, again=folder.exists())
                make_folder(folder, partial(_convert, file, header))
    except OSError as error:
        raise UserError(
            f"{folder}: could not store the converted model ({error.strerror}); free some space, "
            "or set XDG_CACHE_HOME to another folder"
        ) from error
    return folder


def _say(file: Path, *, again: bool) -> None:
    if again:
        print(f"warning: the cached conversion of {file.name} has changed", file=sys.stderr)
    print(f"converting {file.name} to safetensors, once (half a minute per 100 MB)", flush=True)


def _convert(file: Path, header: Header, folder: Path) -> None:
    """Raises UserError if the file cannot be read, or lacks a tensor of the model."""
    from transformers.utils import logging

    from vxdist.model.checkpoint import find_gaps, refuse_gaps

    logging.disable_progress_bar()
    try:
        # transformers draws progress bars here that none of its settings turns off.
        with contextlib.redirect_stderr(io.StringIO()):
            model, found, tokenizer = _load(file, header)
    except (Stopped, UserError):
        raise
    except Exception as error:  # whatever transformers makes of a user's file
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise UserError(f"{file}: transformers cannot read this GGUF file: {reason}") from error
    refuse_gaps(str(file), find_gaps(model, found))
    for name, tensor in model.state_dict().items():
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise UserError(
                f"model.path: {file}: {name} has a weight that is infinite or no number; download "
                "or convert the model again"
            )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _load(file: Path, header: Header) -> tuple[Any, Any, Any]:
    """The model, what transformers says of loading it, and its tokenizer."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, GgufConfig

    source = {"pretrained_model_name_or_path": str(file.parent), "gguf_file": file.name}
    try:
        config = AutoConfig.from_pretrained(**source)
    except ValueError as error:
        if "architecture" not in str(error):
            raise
        family = shorten(str(header.values["general.architecture"]))
        raise UserError(
            f"model.path: {file} is a model of the architecture {family}, which transformers does "
            "not read from GGUF; give its safetensors"
        ) from error
    with torch.device("meta"):  # without values: nothing is allocated for what the file has not
        empty: Any = AutoModelForCausalLM.from_config(config)
    size, held = sum(p.numel() for p in empty.parameters()), sum(header.weights.values())
    if size > MOST_RATIO * held:
        raise UserError(
            f"model.path: {file}: its header describes a model of {size:,} weights, and it holds "
            f"{held:,}; download it again"
        )
    check_buffers(str(file), empty)
    loaded: Any = AutoModelForCausalLM.from_pretrained(
        **source,
        dtype=torch.float32,
        quantization_config=GgufConfig(dequantize=True),
        output_loading_info=True,
    )
    model, found = loaded
    return model, found, AutoTokenizer.from_pretrained(**source)

"""GGUF weights, converted once to safetensors in the user's cache.

transformers keeps GGUF weights packed and takes tens of seconds to load them, so the unpacked
model is cached under the hash of the file it came from.
"""

import contextlib
import hashlib
import io
import os
import shutil
import tempfile
from pathlib import Path

from vxdist.errors import UserError


def cache_folder() -> Path:
    """Folder of converted models: $XDG_CACHE_HOME/vxdist, or ~/.cache/vxdist."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "vxdist"


def hash_file(file: Path) -> str:
    """SHA-256 of the whole file."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def convert_gguf(file: Path, digest: str) -> Path:
    """Directory with the model of `file` as float32 safetensors, converted if it is not there yet.

    Processes that start together convert it only once. Raises UserError if the file cannot be read.
    """
    import filelock

    folder = cache_folder() / "gguf" / digest
    if folder.is_dir():
        return folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(str(folder) + ".lock"):
            if not folder.is_dir():
                _convert(file, folder)
    except OSError as error:
        raise UserError(
            f"{folder}: could not store the converted model ({error.strerror}); free some space, "
            "or set XDG_CACHE_HOME to another folder"
        ) from error
    return folder


def _convert(file: Path, folder: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig
    from transformers.utils import logging

    print(f"converting {file.name} to safetensors, once (half a minute per 100 MB)", flush=True)
    logging.disable_progress_bar()
    partial = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f"{folder.name[:12]}."))
    try:
        source = {"pretrained_model_name_or_path": str(file.parent), "gguf_file": file.name}
        try:
            # transformers draws progress bars here that none of its settings turns off.
            with contextlib.redirect_stderr(io.StringIO()):
                model = AutoModelForCausalLM.from_pretrained(
                    **source, dtype=torch.float32, quantization_config=GgufConfig(dequantize=True)
                )
                tokenizer = AutoTokenizer.from_pretrained(**source)
        except (ValueError, KeyError, RuntimeError) as error:
            reason = " ".join(str(error).split())[:200]
            raise UserError(f"{file}: transformers cannot read this GGUF file: {reason}") from error
        model.save_pretrained(partial)
        tokenizer.save_pretrained(partial)
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)

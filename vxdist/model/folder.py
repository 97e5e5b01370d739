"""The folder of a model: whether it holds one, and what tells it from others."""

import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path

from vxdist.config import ModelConfig
from vxdist.errors import UserError
from vxdist.model.sizes import check_sizes, read_json

COMMIT = re.compile(r"[0-9a-f]{40}")
ADAPTER_FILES = ("adapter_config.json", "adapter_model*.safetensors", "adapter_model*.bin")
PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt")
SAMPLES, SAMPLE_BYTES = 64, 1 << 16


def check_folder(folder: Path, *, weights: bool = True) -> None:
    """Raise UserError unless a model, with its weights, is in `folder`."""
    _refuse_adapter(folder)
    if not (folder / "config.json").is_file():
        raise UserError(f"model.path: {folder} has no config.json, so it is not a model directory")
    check_sizes(folder)
    if weights and not any(folder.glob("*.safetensors")):
        pickles = sorted(f.name for kind in PICKLES for f in folder.glob(kind))
        found = f"only {pickles[0]}, a pickle, which may run code" if pickles else "none"
        raise UserError(
            f"model.path: {folder}: expected weights in .safetensors files, found {found}; "
            "convert them with save_pretrained(..., safe_serialization=True)"
        )


def _refuse_adapter(folder: Path) -> None:
    """transformers would apply an adapter beside a model if peft is installed, and else not."""
    found = sorted(file.name for kind in ADAPTER_FILES for file in folder.glob(kind))
    if not found:
        return
    if (folder / "config.json").is_file():
        here = f"holds an adapter ({found[0]}) beside the model's own weights"
        remedy = "or move the adapter's files elsewhere to use the model without it"
    else:
        here = f"is an adapter ({found[0]}), not a model"
        base = _base_model(folder / "adapter_config.json")
        remedy = f"its base model is {base}" if base else "its base model is another"
    raise UserError(
        f"model.path: {folder} {here}; merge it into the model and give the result (peft: "
        f"PeftModel.from_pretrained(...).merge_and_unload().save_pretrained(...)), {remedy}"
    )


def _base_model(file: Path) -> str | None:
    try:
        name = json.loads(file.read_text(encoding="utf-8")).get("base_model_name_or_path")
    except (OSError, ValueError, AttributeError, RecursionError):
        return None
    return name if isinstance(name, str) else None


def check_code(config: ModelConfig, folder: Path) -> bool:
    """Whether the model's own code will run. Raises UserError if it must but is not allowed to."""
    from transformers import CONFIG_MAPPING

    content = read_json(folder / "config.json")
    if "auto_map" not in content or content.get("model_type") in CONFIG_MAPPING:
        return False
    if not config.trust_remote_code:
        raise UserError(
            f"model.path: {config.path} ({content.get('model_type')}) runs its own Python code; "
            "read it, then set model.trust_remote_code: true and model.revision to the commit that "
            "you read"
        )
    if not Path(config.path).is_dir() and not COMMIT.fullmatch(config.revision or ""):
        raise UserError(
            f"model.revision: {config.revision}, but {config.path} runs its own code; pin the "
            "commit that you read, by its 40 hexadecimal digits"
        )
    return True


def fingerprint(folder: Path) -> str:
    """SHA-256 of the config, and of samples spread over each weight file.

    Reading every byte of a 140 GB model would take minutes; 64 samples per file distinguish any
    two fine-tunes, since training changes all weights.
    """
    sha = hashlib.sha256((folder / "config.json").read_bytes())
    for file in sorted(folder.glob("*.safetensors")):
        sha.update(f"{file.name} {file.stat().st_size}\n".encode())
        for sample in _samples(file):
            sha.update(sample)
    return sha.hexdigest()


def _samples(file: Path) -> Iterator[bytes]:
    size = file.stat().st_size
    step = max(SAMPLE_BYTES, size // SAMPLES)
    with file.open("rb") as stream:
        for start in range(0, size, step):
            stream.seek(start)
            yield stream.read(SAMPLE_BYTES)

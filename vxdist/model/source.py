"""Finding a model's files: Hub id, directory, .gguf file, or package:NAME/FILE.

Whatever the source, what comes out is a local directory with config, tokenizer and safetensors.
"""

import hashlib
import importlib.util
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from vxdist.config import ModelConfig
from vxdist.errors import UserError
from vxdist.model.gguf import convert_gguf, hash_file

PACKAGE = "package:"
HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")
HUB_FILES = ["*.json", "*.safetensors", "*.model", "*.txt", "*.jinja"]
SAMPLES, SAMPLE_BYTES = 64, 1 << 16


@dataclass(frozen=True, kw_only=True)
class ModelSource:
    """A model on disk. `fingerprint` tells its weights and configuration from any other's."""

    name: str
    revision: str
    directory: Path
    fingerprint: str


def find_model(config: ModelConfig) -> ModelSource:
    """Bring the model's files to a local directory; no weights are loaded.

    Raises UserError if there is no such model.
    """
    path = config.path
    if not path:
        raise UserError(
            "model.path: not set; give a Hub id, a directory, a .gguf file, or package:NAME/FILE"
        )
    if path.startswith(PACKAGE):
        return _from_gguf(path, _package_file(path))
    place = Path(path)
    if place.suffix == ".gguf":
        if not place.is_file():
            raise UserError(f"model.path: no file {path}")
        return _from_gguf(path, place)
    if place.is_dir():
        return _from_directory(path, "", place)
    if place.exists() or not HUB_ID.fullmatch(path) or path.startswith("."):
        raise UserError(
            f"model.path: {path} is no model: expected a Hub id, a directory, a .gguf file, or "
            f"{PACKAGE}NAME/FILE"
        )
    return _from_hub(config)


def _package_file(path: str) -> Path:
    name, _, inside = path.removeprefix(PACKAGE).partition("/")
    spec = importlib.util.find_spec(name) if name.isidentifier() else None
    if spec is None or not spec.submodule_search_locations:
        raise UserError(
            f"model.path: no Python package {name!r} is installed here; `pip install` it, or "
            "give another model"
        )
    folder = Path(next(iter(spec.submodule_search_locations)))
    file = folder / inside
    if not inside or not file.is_file():
        have = ", ".join(sorted(p.name for p in folder.glob("*.gguf"))) or "no .gguf file"
        raise UserError(f"model.path: package {name} has no file {inside!r}; it holds {have}")
    return file


def _from_gguf(name: str, file: Path) -> ModelSource:
    digest = hash_file(file)
    return ModelSource(
        name=name, revision="", directory=convert_gguf(file, digest), fingerprint=digest
    )


def _from_directory(name: str, revision: str, folder: Path) -> ModelSource:
    if not (folder / "config.json").is_file():
        raise UserError(f"model.path: {folder} has no config.json, so it is no model directory")
    if not any(folder.glob("*.safetensors")):
        raise UserError(
            f"model.path: {folder} has no .safetensors file; convert the weights with "
            "save_pretrained(..., safe_serialization=True)"
        )
    return ModelSource(
        name=name, revision=revision, directory=folder, fingerprint=_fingerprint(folder)
    )


def _from_hub(config: ModelConfig) -> ModelSource:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        folder = snapshot_download(config.path, revision=config.revision, allow_patterns=HUB_FILES)
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"model.path: {config.path} is no file or directory here, and the Hub did not give "
            f"it: {reason}"
        ) from error
    # The snapshot's folder is named by its commit.
    return _from_directory(config.path, Path(folder).name, Path(folder))


def _fingerprint(folder: Path) -> str:
    """SHA-256 of config, and of samples spread over each weight file.

    Reading every byte of a 140 GB model would take minutes; 64 samples a file tell any two
    fine-tunes apart, since training moves all weights.
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

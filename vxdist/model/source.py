"""Finding a model's files: Hub id, directory, .gguf file, or package:NAME/FILE.

Whatever the source, the result is a local directory with config, tokenizer and safetensors.
"""

import contextlib
import importlib.util
import os
import re
import threading
from dataclasses import dataclass
from pathlib import Path

from vxdist.config import ModelConfig
from vxdist.errors import UserError
from vxdist.model.cache import hash_file
from vxdist.model.folder import check_code, check_folder, fingerprint
from vxdist.model.gguf import convert_gguf
from vxdist.model.gguf_header import check_header

PACKAGE = "package:"
HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")
CONFIG_FILES = ["*.json", "*.model", "*.txt", "*.jinja"]
WEIGHT_FILES = ["*.safetensors"]
CODE_FILES = ["*.py"]
LICENCE_FILES = ["LICEN[CS]E*", "NOTICE*", "USE_POLICY*", "README.md"]
"""Files that say under which terms a model is passed on."""


@dataclass(frozen=True, kw_only=True)
class ModelSource:
    """A model on disk. `fingerprint` identifies its weights and configuration."""

    name: str
    revision: str
    directory: Path
    fingerprint: str
    own_code: bool
    """Whether the model's own Python code may run."""


def find_model(config: ModelConfig) -> ModelSource:
    """Find or download the model's files; no weights are loaded.

    Raises UserError if there is no such model, it needs code of its own that
    `model.trust_remote_code` does not allow, or its weights are pickles.
    """
    return _find(config, weights=True)


def find_config(config: ModelConfig) -> ModelSource:
    """The same for the configuration only; the directory need not hold weights."""
    return _find(config, weights=False)


def read_ahead(source: ModelSource) -> None:
    """Ask the system to read the weights into its cache in the background.

    This is a hint; on systems without support for it nothing happens.
    """
    if not hasattr(os, "posix_fadvise"):
        return

    def advise() -> None:
        for file in sorted(source.directory.glob("*.safetensors")):
            with contextlib.suppress(OSError), file.open("rb") as stream:
                os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_WILLNEED)

    threading.Thread(target=advise, name="read ahead", daemon=True).start()


def check_files(config: ModelConfig) -> None:
    """Raise UserError if no model with weights is where `model.path` says; the Hub is not asked."""
    found = look_for(config)
    if found is not None and found.is_dir():
        check_folder(found)


def look_for(config: ModelConfig) -> Path | None:
    """The model's file or folder; None for a Hub id. Nothing is imported, read or downloaded.

    Raises UserError if there is no such model on this machine.
    """
    path = config.path
    if not path:
        raise UserError(
            "model.path: not set; give a Hub id, a directory, a .gguf file, or package:NAME/FILE"
        )
    if path.startswith(PACKAGE):
        return _package_file(path)
    local = Path(path)
    if local.suffix == ".gguf":
        if not local.is_file():
            raise UserError(f"model.path: there is no file {path}; expected a .gguf file")
        return local
    if local.is_dir():
        return local
    if local.exists() or not HUB_ID.fullmatch(path) or path.startswith("."):
        raise UserError(
            f"model.path: {path} is not a model; expected a Hub id, a directory, a .gguf file, or "
            f"{PACKAGE}NAME/FILE"
        )
    return None


def _find(config: ModelConfig, *, weights: bool) -> ModelSource:
    found = look_for(config)
    if found is None:
        return _from_hub(config, weights=weights)
    if found.is_dir():
        return _from_directory(config, "", found, weights=weights)
    return _from_gguf(config.path, found)


def _package_file(path: str) -> Path:
    name, _, inside = path.removeprefix(PACKAGE).partition("/")
    spec = importlib.util.find_spec(name) if name.isidentifier() else None
    if spec is None or not spec.submodule_search_locations:
        raise UserError(
            f"model.path: the Python package {name!r} is not installed; `pip install` it, or "
            "choose another model"
        )
    folder = Path(next(iter(spec.submodule_search_locations)))
    file = folder / inside
    if not inside or not file.is_file():
        contents = ", ".join(sorted(p.name for p in folder.glob("*.gguf"))) or "no .gguf file"
        raise UserError(f"model.path: package {name} has no file {inside!r}; it holds {contents}")
    return file


def _from_gguf(name: str, file: Path) -> ModelSource:
    header = check_header(file)
    digest = hash_file(file)
    return ModelSource(
        name=name,
        revision="",
        directory=convert_gguf(file, digest, header),
        fingerprint=digest,
        own_code=False,
    )


def _from_directory(
    config: ModelConfig, revision: str, folder: Path, *, weights: bool
) -> ModelSource:
    check_folder(folder, weights=weights)
    return ModelSource(
        name=config.path,
        revision=revision,
        directory=folder,
        fingerprint=fingerprint(folder) if weights else "",
        own_code=check_code(config, folder),
    )


def _from_hub(config: ModelConfig, *, weights: bool) -> ModelSource:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    files = [
        *CONFIG_FILES,
        *LICENCE_FILES,
        *(WEIGHT_FILES if weights else ()),
        *(CODE_FILES if config.trust_remote_code else ()),
    ]
    try:
        folder = snapshot_download(config.path, revision=config.revision, allow_patterns=files)
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"model.path: {config.path} is neither a local path nor available from the Hub: "
            f"{reason}"
        ) from error
    # The folder of a snapshot is named after its commit.
    return _from_directory(config, Path(folder).name, Path(folder), weights=weights)

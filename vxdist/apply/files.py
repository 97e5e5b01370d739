"""Copying a checkpoint, file by file, and changing some of its tensors in the copy.

Everything else stays as it is to the byte: dtypes, names, and how tensors are spread over files.
"""

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path

import torch

from vxdist.apply.fold import Columns, fold
from vxdist.errors import UserError
from vxdist.model.cache import DIGESTS
from vxdist.model.checkpoint import INDEX, WEIGHTS
from vxdist.model.safetensors_header import DTYPES, Tensor
from vxdist.model.source import CODE_FILES, LICENCE_FILES, ModelSource

BESIDE = ("*.json", "*.model", "*.txt", "*.jinja", "*.tiktoken", *LICENCE_FILES)
"""Files that are copied with the weights: configuration, tokenizer, chat template, licence."""
NOT_BESIDE = ("*.index.json", DIGESTS, "README.md")
FOLDERS = ("additional_chat_templates",)
CHUNK = 1 << 24
SPARE = 1 << 26
"""Bytes of free space beyond the weights."""


def weight_files(tensors: Mapping[str, Tensor]) -> list[Path]:
    """The files that hold the tensors."""
    return sorted({tensor.file for tensor in tensors.values() if tensor.file is not None})


def check_out(out: Path, files: Sequence[Path]) -> None:
    """Raise UserError if something is at `out`, or the disk has no room for copies of `files`."""
    refuse_existing(out)
    needed = sum(file.stat().st_size for file in files) + SPARE
    there = next(folder for folder in out.absolute().parents if folder.is_dir())
    free = shutil.disk_usage(there).free
    if free < needed:
        raise UserError(
            f"--out {out}: the checkpoint takes {needed / 1e9:,.1f} GB, and {free / 1e9:,.1f} GB "
            "are free there; choose another folder"
        )


def refuse_existing(out: Path) -> None:
    """Raise UserError if something is at `out`."""
    if out.exists() or out.is_symlink():
        raise UserError(f"--out {out} exists already; choose another folder, or remove it")


def copy_weights(
    tensors: Mapping[str, Tensor], folder: Path, advance: Callable[[int], None]
) -> None:
    """Copy the weight files into `folder`; `advance` is told of the bytes as they are copied."""
    files = weight_files(tensors)
    for file in files:
        with file.open("rb") as source, (folder / file.name).open("wb") as copy:
            while chunk := source.read(CHUNK):
                copy.write(chunk)
                advance(len(chunk))
    if [file.name for file in files] != [WEIGHTS] and files:
        index = files[0].parent / INDEX
        if index.is_file():
            shutil.copyfile(index, folder / INDEX)


def copy_beside(source: ModelSource, folder: Path) -> None:
    """Copy the files that are not weights. The model's own code comes along only if it may run."""
    kinds = (*BESIDE, *(CODE_FILES if source.own_code else ()))
    kept = {file for kind in kinds for file in source.directory.glob(kind) if file.is_file()}
    for file in sorted(kept):
        if not any(file.match(kind) for kind in NOT_BESIDE):
            shutil.copyfile(file, folder / file.name)
    for name in FOLDERS:
        if (source.directory / name).is_dir():
            shutil.copytree(source.directory / name, folder / name)


def change_tensors(
    planned: Sequence[Columns], tensors: Mapping[str, Tensor], folder: Path
) -> list[str]:
    """Make the planned changes in the copies; returns the names of the tensors changed.

    One tensor is in memory at a time, and a bias.
    """
    changed: dict[str, None] = {}
    for name, group in groupby(planned, key=lambda columns: columns.weight):
        weight = _read(tensors[name], folder)
        for columns in group:
            bias = None if columns.bias is None else _read(tensors[columns.bias], folder)
            fold(columns, weight, bias)
            if columns.bias is not None and bias is not None:
                _write(tensors[columns.bias], folder, bias)
                changed[columns.bias] = None
        _write(tensors[name], folder, weight)
        changed[name] = None
    return list(changed)


def _read(tensor: Tensor, folder: Path) -> torch.Tensor:
    assert tensor.file is not None
    assert tensor.shape is not None
    dtype = DTYPES[str(tensor.dtype)]
    size = dtype.itemsize * torch.Size(tensor.shape).numel()
    with (folder / tensor.file.name).open("rb") as stream:
        stream.seek(tensor.begins)
        data = bytearray(stream.read(size))
    return torch.frombuffer(data, dtype=dtype).reshape(tensor.shape)


def _write(tensor: Tensor, folder: Path, changed: torch.Tensor) -> None:
    assert tensor.file is not None
    with (folder / tensor.file.name).open("r+b") as stream:
        stream.seek(tensor.begins)
        stream.write(changed.contiguous().view(-1).view(torch.uint8).numpy().tobytes())


def list_files(folder: Path) -> Iterator[Path]:
    """Every file below a folder."""
    return (file for file in sorted(folder.rglob("*")) if file.is_file())

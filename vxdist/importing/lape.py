"""Count files as saved by LAPE's code and code derived from it.

A file is a dictionary written by `torch.save`: `over_zero` (layer, neuron), the number of tokens on
which each neuron was active; `n` (LAPE) or `token_num` (ValueExploration), the number of tokens;
`question_num` (ValueExploration), the number of texts. Other keys are ignored. L: layer, N: neuron.
"""

import hashlib
import io
import re
import stat
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vxdist.errors import UserError
from vxdist.importing.counts import Counts
from vxdist.limits import limited

ACTIVE = "over_zero"
TOKENS = ("token_num", "n")
QUESTIONS = "question_num"
MOST = int(np.iinfo(np.int32).max)
"""Largest count that a store can hold per part."""


LARGEST = 8 << 30
"""Bytes of the largest file that is read; int64 counts of a model of 70 milliards have 18 MB."""
SECONDS = 120
"""For reading one file."""
NAMES = {"active": ACTIVE, "tokens": " or ".join(TOKENS), "questions": QUESTIONS}


def read_lape(file: Path) -> Counts:
    """Read and check one count file; code that it may contain is not run.

    Raises UserError naming the file and the key, what was found and what was expected.
    """
    content = _read_bytes(file)
    with limited(str(file), seconds=SECONDS, memory=(4 * len(content)) + (1 << 30)):
        found = _load(file, content)
        over_zero_LN = _read_active(file, found)
    tokens = {key: _read_number(file, found, key) for key in TOKENS if key in found}
    if len(set(tokens.values())) > 1:
        numbers = " and ".join(f"{key} {number}" for key, number in tokens.items())
        raise UserError(f"{file}: found {numbers}, expected the same number of tokens; remove one")
    token_num = next(iter(tokens.values()), None)
    if token_num is not None and over_zero_LN.max() > token_num:
        raise UserError(
            f"{file}: {ACTIVE}: found a neuron active on {over_zero_LN.max()} tokens, expected at "
            f"most {token_num}; the file is damaged, or mixes the counts of several runs"
        )
    return Counts(
        active_count_LN=over_zero_LN.astype(np.int32),
        token_count=token_num,
        question_count=_read_number(file, found, QUESTIONS) if QUESTIONS in found else None,
        sha256=hashlib.sha256(content).hexdigest(),
        names=NAMES,
    )


def _read_bytes(file: Path) -> bytes:
    try:
        about = file.stat()
        if stat.S_ISREG(about.st_mode) and about.st_size > LARGEST:
            raise UserError(
                f"{file}: has {about.st_size:,} bytes, expected at most {LARGEST:,}; give count "
                "files written by torch.save"
            )
        if not stat.S_ISREG(about.st_mode) and not stat.S_ISDIR(about.st_mode):
            raise UserError(f"{file}: is no ordinary file; give count files written by torch.save")
        return file.read_bytes()
    except OSError as error:
        raise UserError(
            f"{file}: {error.strerror}; give count files written by torch.save"
        ) from error


def _refuse_bomb(content: bytes) -> None:
    """torch packs nothing: what is in its zip file is no longer than the file itself. Its sums are
    right too, which torch does not look at."""
    if not content.startswith(b"PK"):
        return
    with zipfile.ZipFile(io.BytesIO(content)) as packed:
        if sum(entry.file_size for entry in packed.infolist()) > len(content):
            raise ValueError("its parts are longer than the file")
        if (bad := packed.testzip()) is not None:
            raise ValueError(f"{bad} is damaged")


def _load(file: Path, content: bytes) -> Mapping[Any, Any]:
    import torch

    try:
        _refuse_bomb(content)
        with warnings.catch_warnings(action="ignore"):  # errors are reported in one line
            found = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except MemoryError:
        raise
    except Exception as error:  # on other bytes torch raises exceptions of many kinds
        code = re.search(r"GLOBAL ([\w.]+)", str(error))
        if code is None:
            raise UserError(
                f"{file}: not written by torch.save, or damaged; expected a dictionary with "
                f"{ACTIVE} and the number of tokens"
            ) from error
        raise UserError(
            f"{file}: contains {code[1]}, expected only tensors and plain numbers; no code in it "
            "was run. If you trust the file, save it again without that object"
        ) from error
    if not isinstance(found, Mapping):
        raise UserError(f"{file}: found {_describe(found)}, expected a dictionary with {ACTIVE}")
    return found


def _read_active(file: Path, found: Mapping[Any, Any]) -> NDArray[np.integer[Any]]:
    """Numbers of active tokens, (layer, neuron), checked to fit a store."""
    import torch

    item = found.get(ACTIVE)
    integers = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)
    if (
        not isinstance(item, torch.Tensor)
        or item.dtype not in integers
        or (item.layout, item.device.type) != (torch.strided, "cpu")
        or item.ndim != 2
        or item.numel() == 0
        # A step of zero makes a giant of one number.
        or item.untyped_storage().nbytes() < item.numel() * item.element_size()
    ):
        description = _describe(item) if ACTIVE in found else "no such key"
        raise UserError(
            f"{file}: {ACTIVE}: found {description}, expected integers [layers, neurons]"
        )
    active_LN: NDArray[np.integer[Any]] = item.numpy()
    for count in (active_LN.min(), active_LN.max()):
        if not 0 <= count <= MOST:
            raise UserError(f"{file}: {ACTIVE}: found {count}, expected counts from 0 to {MOST}")
    return active_LN


def _read_number(file: Path, found: Mapping[Any, Any], key: str) -> int:
    """A count of at least one; the published files store some as floats."""
    import torch

    item = found[key]
    if isinstance(item, torch.Tensor) and item.numel() == 1:
        item = item.item()
    if isinstance(item, bool) or not isinstance(item, int | float):
        raise UserError(f"{file}: {key}: found {_describe(item)}, expected a whole number")
    if not 1 <= item <= MOST or item != int(item):
        raise UserError(f"{file}: {key}: found {item}, expected a whole number from 1 to {MOST}")
    return int(item)


def _describe(item: Any) -> str:
    """The type of an item, in a word or two."""
    if hasattr(item, "dtype") and hasattr(item, "shape"):
        return f"{str(item.dtype).removeprefix('torch.')} {list(item.shape)}"
    return type(item).__name__

"""Count files as LAPE's code, and what grew out of it, saves them.

A file is what `torch.save` made of a dictionary: `over_zero`, on how many tokens each neuron was
active, (layer, neuron); `n` (LAPE) or `token_num` (ValueExploration), the tokens; `question_num`
(ValueExploration), the texts. Whatever else is in it is not looked at. L: layer, N: neuron.
"""

import hashlib
import io
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vxdist.errors import UserError

ACTIVE = "over_zero"
TOKENS = ("token_num", "n")
QUESTIONS = "question_num"
MOST = int(np.iinfo(np.int32).max)
"""What a store can count in one part."""


@dataclass(frozen=True, kw_only=True)
class LapeCounts:
    """One file's counts. The number of tokens or of questions is None where it does not tell."""

    over_zero_LN: NDArray[np.int32]
    token_num: int | None
    question_num: int | None
    sha256: str


def read_lape(file: Path) -> LapeCounts:
    """Read and check one count file; no code that it may hold is run.

    Raises UserError naming the file and the key, what was found and what was expected.
    """
    try:
        content = file.read_bytes()
    except OSError as error:
        raise UserError(
            f"{file}: {error.strerror}; give count files that torch.save made"
        ) from error
    found = _load(file, content)
    over_zero_LN = _read_active(file, found)
    tokens = {key: _read_number(file, found, key) for key in TOKENS if key in found}
    if len(set(tokens.values())) > 1:
        told = " and ".join(f"{key} {number}" for key, number in tokens.items())
        raise UserError(f"{file}: found {told}, expected the same number of tokens; leave one out")
    token_num = next(iter(tokens.values()), None)
    if token_num is not None and over_zero_LN.max() > token_num:
        raise UserError(
            f"{file}: {ACTIVE}: found a neuron active on {over_zero_LN.max()} tokens, expected at "
            f"most its {token_num}; the file is damaged, or its counts are of several runs"
        )
    return LapeCounts(
        over_zero_LN=over_zero_LN.astype(np.int32),
        token_num=token_num,
        question_num=_read_number(file, found, QUESTIONS) if QUESTIONS in found else None,
        sha256=hashlib.sha256(content).hexdigest(),
    )


def _load(file: Path, content: bytes) -> Mapping[Any, Any]:
    import torch

    try:
        with warnings.catch_warnings(action="ignore"):  # an error is told in one line
            found = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:  # on bytes that are not torch's, it raises all there is
        code = re.search(r"GLOBAL ([\w.]+)", str(error))
        if code is None:
            raise UserError(
                f"{file}: found no file that torch.save made, or a damaged one; expected one with "
                f"a dictionary of {ACTIVE} and the number of tokens"
            ) from error
        raise UserError(
            f"{file}: found {code[1]} in it, expected tensors and plain numbers only; nothing of "
            "it was run. If you trust it, save it anew without that"
        ) from error
    if not isinstance(found, Mapping):
        raise UserError(f"{file}: found {_describe(found)}, expected a dictionary with {ACTIVE}")
    return found


def _read_active(file: Path, found: Mapping[Any, Any]) -> NDArray[np.integer[Any]]:
    """Active tokens, (layer, neuron), none of them negative or too many for a store."""
    import torch

    item = found.get(ACTIVE)
    whole = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)
    if (
        not isinstance(item, torch.Tensor)
        or item.dtype not in whole
        or (item.layout, item.device.type) != (torch.strided, "cpu")
        or item.ndim != 2
        or item.numel() == 0
    ):
        what = _describe(item) if ACTIVE in found else "no such key"
        raise UserError(f"{file}: {ACTIVE}: found {what}, expected integers [layers, neurons]")
    active_LN: NDArray[np.integer[Any]] = item.numpy()
    for count in (active_LN.min(), active_LN.max()):
        if not 0 <= count <= MOST:
            raise UserError(f"{file}: {ACTIVE}: found {count}, expected counts from 0 to {MOST}")
    return active_LN


def _read_number(file: Path, found: Mapping[Any, Any], key: str) -> int:
    """A count of one at least; the published files hold some as floats."""
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
    """What an item is, in a word or two."""
    if hasattr(item, "dtype") and hasattr(item, "shape"):
        return f"{str(item.dtype).removeprefix('torch.')} {list(item.shape)}"
    return type(item).__name__

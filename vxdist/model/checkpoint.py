"""What a checkpoint's files hold, and whether a model can be loaded from them whole.

Only the headers of the files are read, which name every tensor with its shape; where the weights
are not here, as for `vxdist models` of a model on the Hub, the index names the tensors.
"""

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from vxdist.errors import UserError
from vxdist.model.safetensors_header import DTYPES, Tensor, read_header
from vxdist.model.source import ModelSource
from vxdist.ranks import is_first_rank

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
SHOWN = 3
"""Number of tensors named in a message."""


@dataclass(frozen=True, kw_only=True)
class Gaps:
    """How a checkpoint and a model differ, by names of tensors, sorted."""

    missing: Sequence[str] = ()
    """Tensors of the model that the checkpoint does not have; it would compute with random ones."""
    misshaped: Sequence[str] = ()
    """Tensors of another shape or kind of number, each with what was found and expected."""
    altering: Sequence[str] = ()
    """Tensors the model would leave out, though they belong to a module that it has: an adapter, a
    scale, a bias."""
    unused: Sequence[str] = ()
    """Tensors of modules that the model does not have, such as a head for another task."""


def read_tensors(source: ModelSource, model: nn.Module) -> Mapping[str, Tensor]:
    """All tensors of the files that the model is loaded from; empty if neither weights nor an
    index are here.

    Raises UserError if a file is missing, cut off or not safetensors.
    """
    folder, config = source.directory, getattr(model, "config", None)
    only = getattr(config, "transformers_weights", None) or WEIGHTS
    if (folder / only).is_file():
        files = [folder / only]
    elif (folder / INDEX).is_file():
        placed = _read_index(folder / INDEX)
        if not any(folder.glob("*.safetensors")):
            return {name: Tensor() for name in placed}
        files = [folder / name for name in sorted(set(placed.values()))]
    elif any(folder.glob("*.safetensors")):
        raise UserError(
            f"model.path: {folder} has neither {WEIGHTS} nor {INDEX}, so transformers cannot tell "
            "which weights are the model's; download it again, or save it with save_pretrained"
        )
    else:
        return {}
    files += [folder / name for name in getattr(type(config), "extra_files", ())]
    tensors: dict[str, Tensor] = {}
    for file in files:
        tensors |= read_header(file)
    return tensors


def _read_index(file: Path) -> Mapping[str, str]:
    """The file of each tensor."""
    try:
        placed = json.loads(file.read_text(encoding="utf-8"))["weight_map"]
        names = {str(tensor): str(name) for tensor, name in placed.items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(
            f"model.path: {file} is not an index of weights (weight_map is unreadable); download "
            "it again"
        ) from error
    for name in names.values():
        if Path(name).name != name:
            raise UserError(f"model.path: {file} names a file outside its folder: {name!r}")
    return names


def compare(model: Any, tensors: Mapping[str, Tensor]) -> Gaps:
    """How `tensors` differ from those of `model`, a model without weights (on the meta device).

    transformers itself matches them, as when it loads them: it knows which are tied, renamed, or
    stacked into one. No values are read. Raises UserError if it cannot.
    """
    expected = model.state_dict()
    named_only = any(tensor.shape is None for tensor in tensors.values())
    given = {name: _on_meta(tensor, expected.get(name)) for name, tensor in tensors.items()}
    try:
        _, found = type(model).from_pretrained(
            None,
            config=model.config,
            state_dict=given,
            device_map={"": "meta"},
            ignore_mismatched_sizes=True,
            output_loading_info=True,
        )
    except RuntimeError as error:  # tensors that cannot be stacked
        if named_only:
            return Gaps()
        raise UserError(f"model.path: its tensors do not fit together: {_line(error)}") from error
    gaps = find_gaps(model, found)
    if named_only:
        return Gaps(missing=gaps.missing, altering=gaps.altering, unused=gaps.unused)
    packed = [
        f"{name} ({tensor.dtype}, expected floating-point numbers)"
        for name, tensor in tensors.items()
        if name in expected and expected[name].is_floating_point() > given[name].is_floating_point()
    ]
    return Gaps(
        missing=gaps.missing,
        misshaped=sorted([*gaps.misshaped, *packed]),
        altering=gaps.altering,
        unused=gaps.unused,
    )


def _on_meta(tensor: Tensor, expected: torch.Tensor | None) -> torch.Tensor:
    if tensor.shape is None:
        return torch.empty((1, 1), device="meta") if expected is None else expected
    dtype = DTYPES.get(str(tensor.dtype), torch.uint8)
    return torch.empty(tensor.shape, dtype=dtype, device="meta")


def find_gaps(model: nn.Module, found: Mapping[str, Any]) -> Gaps:
    """The same from what transformers reports of loading (`output_loading_info`)."""
    misshaped = [
        f"{name} ({list(there)}, expected {list(here)})"
        for name, there, here in found["mismatched_keys"]
    ]
    leaves = {name for name, module in model.named_modules() if name and not [*module.children()]}
    unexpected = sorted(found["unexpected_keys"])
    altering = [name for name in unexpected if _owner(name) & leaves]
    return Gaps(
        missing=sorted(found["missing_keys"]),
        misshaped=sorted(misshaped),
        altering=altering,
        unused=sorted(set(unexpected) - set(altering)),
    )


def _owner(name: str) -> set[str]:
    """All modules that a tensor of this name may belong to."""
    steps = name.split(".")
    return {".".join(steps[:n]) for n in range(1, len(steps))}


def refuse_gaps(name: str, gaps: Gaps) -> None:
    """Raise UserError, naming the first tensors and how many, unless the model is whole.

    Tensors that it does not use are named in a warning.
    """
    instead = f" (it has {first(gaps.unused)} instead)" if gaps.unused else ""
    for names, what, remedy in (
        (gaps.misshaped, "of another shape than the model's", "config.json and weights differ"),
        (
            gaps.missing,
            "that the checkpoint does not have",
            "transformers would fill in random numbers; download or convert the model again",
        ),
        (
            gaps.altering,
            "that the model would leave out",
            "merge an adapter into the model first (peft: merge_and_unload), or restore the "
            "quantization_config of its config.json",
        ),
    ):
        if names:
            number = f"{len(names):,} tensor{'s' * (len(names) > 1)}"
            raise UserError(
                f"model.path: {name}: {number} {what}: {first(names)}"
                f"{instead if names is gaps.missing else ''}; {remedy}"
            )
    if gaps.unused and is_first_rank():
        number = f"{len(gaps.unused):,} tensor{'s' * (len(gaps.unused) > 1)}"
        print(
            f"warning: {name} has {number} that the model does not use: {first(gaps.unused)}",
            file=sys.stderr,
        )


def first(names: Iterable[str]) -> str:
    """The first few names, and how many others there are, for messages."""
    listed = list(names)
    others = len(listed) - SHOWN
    return ", ".join(listed[:SHOWN]) + (f" and {others:,} others" if others > 0 else "")


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]

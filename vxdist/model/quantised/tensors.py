"""The tensors of a packed checkpoint as those of the unpacked model: by their headers, or unpacked
one by one while transformers loads the model.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from vxdist.errors import UserError
from vxdist.model.checkpoint import Gaps, refuse_gaps
from vxdist.model.quantised.scheme import MisfitError, Scheme, Shape
from vxdist.model.safetensors_header import Tensor, read_values

FLOAT = "F32"


@dataclass(frozen=True, kw_only=True)
class Weight:
    """A weight in several tensors."""

    parts: Mapping[str, Tensor]
    """What is there of it, by the scheme's names."""
    names: Mapping[str, str]
    """The same tensors' names in the checkpoint."""


@dataclass(frozen=True, kw_only=True)
class Contents:
    """A packed checkpoint: names of the unpacked model's tensors, and what each is made of."""

    plain: Mapping[str, Tensor]
    """Tensors that are not packed."""
    packed: Mapping[str, Weight]
    shapes: Mapping[str, Shape | None]
    """Shapes of the packed weights; None if only the index is here."""
    scheme: Scheme

    def headers(self) -> Mapping[str, Tensor]:
        """What the headers would say if the weights were not packed."""
        unpacked = {
            name: Tensor() if shape is None else Tensor(shape=shape, dtype=FLOAT)
            for name, shape in self.shapes.items()
        }
        return {**self.plain, **unpacked}

    def state_dict(self) -> dict[str, Any]:
        """All tensors, none of which is read yet, as `from_pretrained` takes them."""
        plain = {name: Unread(name, {"": tensor}) for name, tensor in self.plain.items()}
        packed = {
            name: Unread(name, of.parts, self.scheme, self.shapes[name])
            for name, of in self.packed.items()
        }
        return {**plain, **packed}


class Unread:
    """A tensor that is read, and unpacked, when it is sliced; as safetensors' own slices."""

    def __init__(
        self,
        name: str,
        parts: Mapping[str, Tensor],
        scheme: Scheme | None = None,
        shape: Shape | None = None,
    ) -> None:
        self._name, self._parts, self._scheme, self._shape = name, parts, scheme, shape

    def get_shape(self) -> list[int]:
        """Shape of the tensor."""
        return list(
            next(iter(self._parts.values())).shape or () if not self._shape else self._shape
        )

    def get_dtype(self) -> str:
        """Type of its numbers, as safetensors calls it."""
        return FLOAT if self._scheme else str(self._parts[""].dtype)

    def __getitem__(self, at: Any) -> torch.Tensor:
        values = {part: read_values(tensor) for part, tensor in self._parts.items()}
        if self._scheme is None:
            return values[""][at]
        try:
            return self._scheme.unpack(values)[at]
        except (ValueError, LookupError, RuntimeError, TypeError, ArithmeticError) as error:
            line = " ".join(str(error).split())[:120]
            raise UserError(
                f"model.path: {self._name} cannot be unpacked ({self._scheme.form}): {line}; "
                "download the model again"
            ) from error


def sort_tensors(
    name: str, scheme: Scheme, tensors: Mapping[str, Tensor], expected: Mapping[str, Any]
) -> Contents:
    """Find out which tensors make up a weight.

    `expected` are the names of the unpacked model's own tensors, which are never left out. Raises
    UserError if a part of a weight of the model `name` is missing or has another shape, or if no
    weight is packed.
    """
    kept = {n: t for n, t in tensors.items() if n in expected or not scheme.unused.search(n)}
    weights: dict[str, dict[str, str]] = {}
    for tensor in kept:
        if found := scheme.pattern.fullmatch(tensor):
            weights.setdefault(found["stem"] + scheme.suffix, {})[found["part"]] = tensor
    packed: dict[str, Weight] = {}
    missing: list[str] = []
    for weight, names in weights.items():
        parts = {part: kept[tensor] for part, tensor in names.items()}
        if not (needed := scheme.required(parts)):
            continue
        packed[weight] = Weight(parts=parts, names=names)
        stem = weight.removesuffix(scheme.suffix) if scheme.suffix else weight
        missing += [_name_part(stem, part, scheme) for part in needed if part not in parts]
    refuse_gaps(name, Gaps(missing=sorted(missing)))
    if not packed:
        raise UserError(
            f"model.path: the config.json of {name} says that its weights are packed "
            f"({scheme.form}), but no tensor is; download it again, or take out quantization_config"
        )
    taken = {tensor for of in packed.values() for tensor in of.names.values()}
    shapes, misshaped = _shapes(name, scheme, packed)
    refuse_gaps(name, Gaps(misshaped=misshaped))
    return Contents(
        plain={n: t for n, t in kept.items() if n not in taken},
        packed=packed,
        shapes=shapes,
        scheme=scheme,
    )


def _shapes(
    name: str, scheme: Scheme, packed: Mapping[str, Weight]
) -> tuple[dict[str, Shape | None], list[str]]:
    """Shapes of the weights, and the tensors that do not fit."""
    shapes: dict[str, Shape | None] = {}
    misshaped = []
    for weight, of in packed.items():
        if any(tensor.shape is None for tensor in of.parts.values()):
            shapes[weight] = None
            continue
        try:
            shapes[weight] = scheme.shape(of.parts)
        except MisfitError as error:
            there = list(of.parts[error.part].shape or ())
            misshaped.append(f"{of.names[error.part]} ({there}, expected {error.expected})")
        except (ValueError, TypeError, LookupError, ArithmeticError) as error:
            raise UserError(
                f"model.path: {name}: the parts of {weight} cannot be read ({scheme.form}); "
                "download it again"
            ) from error
    return shapes, misshaped


def _name_part(stem: str, part: str, scheme: Scheme) -> str:
    """The name of a tensor that a checkpoint lacks."""
    dotted = f"{stem}.{part}"
    return dotted if scheme.pattern.fullmatch(dotted) else f"{stem}_{part}"

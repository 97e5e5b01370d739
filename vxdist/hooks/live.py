"""Ablating neurons of a model that is in memory already, for as long as a `with` block lasts.

L: layer, N: neuron.
"""

import contextlib
import os
import weakref
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from vxdist.components import find_class, settings_of
from vxdist.errors import UserError
from vxdist.hooks.ablation import Ablation
from vxdist.hooks.interventions import INTERVENTIONS, Affine, Intervention
from vxdist.hooks.recorded import read_recorded
from vxdist.hooks.selftest import TOKENS, check_hook_points
from vxdist.model.blocks import HookPoints
from vxdist.model.decoder import find_decoder
from vxdist.model.hook_points import find_hook_points
from vxstore.mask_file import read_mask
from vxstore.query.lookup import open_root, require_known
from vxstore.read import Store, open_store

Bools = NDArray[np.bool_]
_ablated: "weakref.WeakSet[nn.Module]" = weakref.WeakSet()
"""Decoders that are in such a block now."""


@contextlib.contextmanager
def ablate(
    model: Any,
    mask: Any,
    *,
    value: str | None = None,
    language: str | None = None,
    intervention: str | Intervention | Affine = "zero",
    store: str | os.PathLike[str] | Store | None = None,
) -> Iterator[Any]:
    """See `vxdist.ablate`."""
    decoder = _find_decoder(model)
    hook_points = find_hook_points(decoder)
    shape_LN = (hook_points.num_layers, hook_points.num_neurons)
    mask_LN = _read_mask(mask, shape_LN, value, language)
    _require_existing(mask_LN, hook_points)
    affine = _find_map(intervention, store, shape_LN, value, language)
    if decoder in _ablated:
        raise UserError(
            "vxdist.ablate: neurons of this model are ablated already; leave that block first, or "
            "ablate the union of both masks"
        )
    neurons = {layer: np.flatnonzero(row) for layer, row in enumerate(mask_LN) if row.any()}
    _ablated.add(decoder)
    try:
        _check(decoder, hook_points)
        ablation = Ablation(hook_points, next(decoder.parameters()).device)
        try:
            ablation.ablate(neurons, affine)
            yield model
        finally:
            ablation.remove()
    finally:
        _ablated.discard(decoder)


def _find_decoder(model: Any) -> nn.Module:
    find = getattr(model, "get_decoder", None)
    decoder = find_decoder(model) if callable(find) else None
    if not isinstance(decoder, nn.Module):
        raise UserError(
            f"vxdist.ablate: {type(model).__name__} has no decoder; give a causal language model "
            "of transformers"
        )
    return decoder


def _read_mask(
    mask: Any, shape_LN: tuple[int, int], value: str | None, language: str | None
) -> Bools:
    if isinstance(mask, str | os.PathLike):
        if value is None or language is None:
            raise UserError(f"vxdist.ablate: {mask} is a mask file; give value and language too")
        return read_mask(os.fspath(mask), value=value, language=language, shape_LN=shape_LN)
    if isinstance(mask, Mapping):
        return _from_layers(mask, shape_LN)
    if hasattr(mask, "dims"):  # an array of a store, such as `scores.selected` of one value
        mask = mask.transpose("layer", "neuron")
    if isinstance(mask, torch.Tensor):
        mask = mask.cpu().numpy()
    mask_LN = np.asarray(mask)
    if mask_LN.shape != shape_LN or mask_LN.dtype != bool:
        raise UserError(
            f"vxdist.ablate: the mask is {mask_LN.dtype} of shape {mask_LN.shape}, expected bool "
            f"of (layer, neuron), here {shape_LN}"
        )
    return mask_LN


def _from_layers(layers: Mapping[int, Sequence[int]], shape_LN: tuple[int, int]) -> Bools:
    mask_LN = np.zeros(shape_LN, dtype=bool)
    for layer, neurons in layers.items():
        if layer not in range(shape_LN[0]):
            raise UserError(
                f"vxdist.ablate: found layer {layer!r}, expected 0 to {shape_LN[0] - 1}"
            )
        for neuron in neurons:
            if neuron not in range(shape_LN[1]):
                raise UserError(
                    f"vxdist.ablate: layer {layer}: found neuron {neuron!r}, expected 0 to "
                    f"{shape_LN[1] - 1}"
                )
            mask_LN[layer, neuron] = True
    return mask_LN


def _require_existing(mask_LN: Bools, hook_points: HookPoints) -> None:
    """Raise UserError if the mask has a neuron that a narrower layer does not have."""
    exists_LN = hook_points.exists()
    missing_LN = mask_LN & ~exists_LN
    if missing_LN.any():
        layer, neuron = np.argwhere(missing_LN)[0].tolist()
        there = int(exists_LN[layer].sum())
        raise UserError(
            f"vxdist.ablate: layer {layer}: found neuron {neuron}, expected one of its {there}"
        )


def _find_map(
    intervention: str | Intervention | Affine,
    store: str | os.PathLike[str] | Store | None,
    shape_LN: tuple[int, int],
    value: str | None,
    language: str | None,
) -> Affine | None:
    """The map of every neuron; None is zero ablation."""
    if intervention == "zero":
        return None
    if isinstance(intervention, Affine):
        if intervention.scale_LN.shape != shape_LN or intervention.shift_LN.shape != shape_LN:
            raise UserError(
                f"vxdist.ablate: the map is of shape {intervention.scale_LN.shape}, expected "
                f"{shape_LN}"
            )
        return intervention
    made = _make(intervention) if isinstance(intervention, str) else intervention
    if store is None or value is None or language is None:
        raise UserError(
            f"vxdist.ablate: {type(made).__name__.lower()} is computed from what a store "
            "recorded; give store, value and language"
        )
    opened = store if isinstance(store, Store) else open_store(os.fspath(store))
    return _from_store(made, opened, shape_LN, value, language)


def _make(name: str) -> Intervention:
    component = find_class(INTERVENTIONS, name, "vxdist.ablate: intervention")
    settings = settings_of(component)
    made: Intervention = component() if settings is None else component(settings())
    return made


def _from_store(
    intervention: Intervention,
    store: Store,
    shape_LN: tuple[int, int],
    value: str,
    language: str,
) -> Affine:
    root, values, languages = open_root(store)
    require_known(store, "value", value, values)
    require_known(store, "language", language, languages)
    missing = [name for name in intervention.needs if name not in root]
    if missing:
        raise UserError(
            f"vxdist.ablate: the intervention needs {', '.join(missing)}, which {store.path} does "
            "not record; choose another, such as zero"
        )
    recorded = read_recorded(store)
    if recorded.shape_LN != shape_LN:
        raise UserError(
            f"vxdist.ablate: {store.path} has {recorded.shape_LN} neurons, and the model "
            f"{shape_LN}; give the store of this model"
        )
    return intervention.affine(recorded, value, language)


def _check(decoder: nn.Module, hook_points: HookPoints) -> None:
    """Verify that the hook points are the neurons, without dropout; see `check_hook_points`."""
    training = [module for module in decoder.modules() if module.training]
    try:
        decoder.eval()
        check_hook_points(decoder, hook_points, TOKENS)
    finally:
        for module in training:
            module.training = True

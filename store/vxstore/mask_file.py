"""Mask files: which neurons to ablate for each value and language, for any software to read.

A mask file is one JSON object:

    format             "vxdist-mask"
    format_version     1; a reader refuses a higher one, and ignores keys it does not know
    model              name of the model the neurons are of
    model_fingerprint  SHA-256 of its weights, as in the store; "" if not known
    layers, neurons    how many decoder layers the model has, and neurons each of them
    score              name of the score that selected the neurons
    blocks             as the attribute of the store, if it has that; see store/FORMAT.md
    experts            experts of each layer, if the model has any: neuron n is unit n % U of
                       expert n // U, of U = neurons / experts units each
    masks              {value: {language: {layer: [neuron, ...]}}}

`layer` is a decimal string without leading zeros; layers and neurons count from 0. Neurons are
in ascending order, each once; a layer of which none is selected is left out, a value or language
of which none is selected holds {}. A value or language that is not there at all has no mask.
"""

import json
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vxstore.blocks import read_blocks
from vxstore.errors import UserError
from vxstore.read import Store
from vxstore.text import name_binary

MASK_FORMAT = "vxdist-mask"
MASK_VERSION = 1
Bools = NDArray[np.bool_]
LARGEST = 256 << 20
"""Bytes of a mask file."""
_LAYER = re.compile(r"0|[1-9][0-9]{0,8}")


def read_masks(
    file: str,
    store: Store,
    *,
    shape_LN: tuple[int, int],
    values: Sequence[str],
    languages: Sequence[str],
    wanted: Sequence[str],
) -> Bools:
    """Neurons to ablate, (layer, neuron, value, language); values and languages as given.

    `values` and `languages` are those of the store; the masks of the `wanted` values must be there
    in every language, those of others may be. Raises UserError naming the file and the key, if
    it is not a mask file of the store's model, or names anything that the store does not have.
    """
    content = _load(file)
    _check_format(file, content)
    _check_model(file, content, store)
    _check_shape(file, content, shape_LN)
    masks = _mapping(file, "masks", content.get("masks"))
    _require_known(file, "masks", "value", masks, values)
    selected_LNVG = np.zeros((*shape_LN, len(values), len(languages)), dtype=bool)
    for v, value in enumerate(values):
        if value not in masks and value not in wanted:
            continue
        by_language = _get(file, masks, "masks", value)
        _require_known(file, f"masks.{value}", "language", by_language, languages)
        for g, language in enumerate(languages):
            if language not in by_language and value not in wanted:
                continue
            by_layer = _get(file, by_language, f"masks.{value}", language)
            _fill(file, f"masks.{value}.{language}", by_layer, selected_LNVG[..., v, g])
    _require_existing(file, store, np.asarray(selected_LNVG.any(axis=(2, 3))))
    return selected_LNVG


def _require_existing(file: str, store: Store, selected_LN: Bools) -> None:
    """Raise UserError if a mask has a neuron that its layer, narrower than others, lacks."""
    blocks = read_blocks(store.attrs)
    if blocks is not None and (lacking_LN := selected_LN & ~blocks.exists()).any():
        layer, neuron = np.argwhere(lacking_LN)[0].tolist()
        there = int(blocks.exists()[layer].sum())
        raise UserError(
            f"{file}: layer {layer}: found neuron {neuron}, expected one of its {there}"
        )


def read_mask(
    file: str,
    *,
    value: str,
    language: str,
    shape_LN: tuple[int, int],
    store: Store | None = None,
) -> Bools:
    """The mask of one value and language, (layer, neuron).

    Raises UserError naming the file and the key, if it is not a mask file of a model of this shape
    and, with `store`, of the store's model, or has no such mask.
    """
    content = _load(file)
    _check_format(file, content)
    if store is not None:
        _check_model(file, content, store)
    _check_shape(file, content, shape_LN)
    masks = _mapping(file, "masks", content.get("masks"))
    by_language = _one(file, masks, "masks", value)
    by_layer = _one(file, by_language, f"masks.{value}", language)
    selected_LN = np.zeros(shape_LN, dtype=bool)
    _fill(file, f"masks.{value}.{language}", by_layer, selected_LN)
    if store is not None:
        _require_existing(file, store, selected_LN)
    return selected_LN


def _one(file: str, among: dict[str, Any], key: str, name: str) -> dict[str, Any]:
    if name not in among:
        have = ", ".join(among) or "none"
        raise UserError(f"{file}: {key}: there is no {name!r}; there are {have}")
    return _mapping(file, f"{key}.{name}", among[name])


def _fill(file: str, key: str, by_layer: dict[str, Any], selected_LN: Bools) -> None:
    """Set the neurons of a mask."""
    num_layers, num_neurons = selected_LN.shape
    for layer, neurons in by_layer.items():
        number = _layer(file, key, layer, num_layers)
        selected_LN[number, _neurons(file, f"{key}.{number}", neurons, num_neurons)] = True


def _load(file: str) -> dict[str, Any]:
    try:
        with Path(file).open("rb") as stream:
            raw = stream.read(LARGEST + 1)
        if len(raw) > LARGEST:
            raise UserError(f"{file}: is longer than {LARGEST:,} bytes, as no mask file is")
        if (binary := name_binary(raw)) is not None:
            raise UserError(
                f"{file}: is {binary}, not JSON; `vxstore export STORE NAME.mask.json` writes a "
                "mask file"
            )
        content = json.loads(raw.decode("utf-8-sig"), object_pairs_hook=lambda p: _unique(file, p))
    except OSError as error:
        raise UserError(
            f"{file}: {error.strerror}; `vxstore export STORE NAME.mask.json` writes a mask file"
        ) from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{file}: is not JSON: {' '.join(str(error).split())[:200]}") from error
    return _mapping(file, "the file", content)


def _unique(file: str, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, item in pairs:
        if key in found:
            raise UserError(f"{file}: duplicate key {key!r} in one object; expected it once")
        found[key] = item
    return found


def _check_format(file: str, content: dict[str, Any]) -> None:
    if content.get("format") != MASK_FORMAT:
        raise UserError(
            f"{file}: format: found {_shown(content.get('format'))}, expected {MASK_FORMAT!r}; "
            "`vxstore export STORE NAME.mask.json` writes a mask file"
        )
    version = content.get("format_version")
    if type(version) is not int or not 1 <= version <= MASK_VERSION:
        raise UserError(
            f"{file}: format_version: found {_shown(version)}, expected at most {MASK_VERSION}; "
            "a higher one needs a newer vxdist"
        )


def _check_model(file: str, content: dict[str, Any], store: Store) -> None:
    fingerprint = content.get("model_fingerprint")
    if not fingerprint or fingerprint != store.attrs["model_fingerprint"]:
        raise UserError(
            f"{file}: model_fingerprint: its neurons are of model {_shown(content.get('model'))} "
            f"({str(fingerprint)[:12]!r}), and {store.path} is of {_shown(store.attrs['model'])} "
            f"({str(store.attrs['model_fingerprint'])[:12]!r}); give masks of the same model"
        )


def _check_shape(file: str, content: dict[str, Any], shape_LN: tuple[int, int]) -> None:
    for key, size in zip(("layers", "neurons"), shape_LN, strict=True):
        if type(content.get(key)) is not int or content[key] != size:
            raise UserError(f"{file}: {key}: found {_shown(content.get(key))}, expected {size}")


def _mapping(file: str, key: str, item: Any) -> dict[str, Any]:
    if not isinstance(item, dict):
        raise UserError(f"{file}: {key}: found {_shown(item)}, expected an object")
    return item


def _get(file: str, among: dict[str, Any], key: str, name: str) -> dict[str, Any]:
    if name not in among:
        have = ", ".join(among) or "none"
        raise UserError(
            f"{file}: {key}: there is no {name!r} (there: {have}); expected one for every value of "
            "evaluate.values and every language of the store, {} to ablate nothing"
        )
    return _mapping(file, f"{key}.{name}", among[name])


def _require_known(
    file: str, key: str, kind: str, found: dict[str, Any], known: Sequence[str]
) -> None:
    for name in found:
        if name not in known:
            raise UserError(
                f"{file}: {key}: the store has no {kind} {name!r}; there are {', '.join(known)}"
            )


def _layer(file: str, key: str, layer: str, num_layers: int) -> int:
    if not _LAYER.fullmatch(layer) or int(layer) >= num_layers:
        raise UserError(f"{file}: {key}: found layer {layer!r}, expected 0 to {num_layers - 1}")
    return int(layer)


def _neurons(file: str, key: str, neurons: Any, num_neurons: int) -> list[int]:
    if not isinstance(neurons, list):
        raise UserError(f"{file}: {key}: found {_shown(neurons)}, expected a list of neurons")
    for neuron in neurons:
        if type(neuron) is not int or not 0 <= neuron < num_neurons:
            raise UserError(
                f"{file}: {key}: found neuron {_shown(neuron)}, expected 0 to {num_neurons - 1}"
            )
    if len(set(neurons)) < len(neurons):
        twice = Counter(neurons).most_common(1)[0][0]
        raise UserError(f"{file}: {key}: duplicate neuron {twice}; expected each once")
    return neurons


def _shown(item: Any) -> str:
    return json.dumps(item)[:40]

"""How large a model may say that it is, before it is built: its files are a stranger's."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vxdist.errors import UserError
from vxstore.text import shorten

MOST_LAYERS, MOST_EXPERTS = 1_000, 10_000
LARGEST_NUMBER = 1 << 40
"""Above any length, size or number of tokens."""
MOST_BUFFERS = 8 << 30
"""Bytes of tensors that are no weights, such as tables of positions."""
LARGEST = {"*.json": 512 << 20, "config.json": 16 << 20, "*.jinja": 1 << 20, "*.model": 512 << 20}
"""Bytes of the files of a model that are read whole; Gemma 3's tokenizer.json has 33 MB."""
COUNTS = {
    **dict.fromkeys(("num_hidden_layers", "n_layer", "n_layers", "num_layers"), MOST_LAYERS),
    **dict.fromkeys(("decoder_layers", "encoder_layers", "num_blocks", "depth"), MOST_LAYERS),
    **dict.fromkeys(("num_local_experts", "num_experts", "n_routed_experts"), MOST_EXPERTS),
}
"""Keys of config.json that say how many modules are built."""


def check_sizes(folder: Path) -> None:
    """Raise UserError, before anything is built, if a file of a model's folder is none that can be
    read, or its configuration asks for more than any model has."""
    for kind, most in LARGEST.items():
        for file in sorted(folder.glob(kind)):
            if not file.is_file():
                raise UserError(f"model.path: {file} is no ordinary file")
            if (size := file.stat().st_size) > most:
                raise UserError(
                    f"model.path: {file} has {size:,} bytes, expected at most {most:,}; download "
                    "it again"
                )
    config = folder / "config.json"
    content = read_json(config)
    if not isinstance(content, dict):
        raise UserError(f"model.path: {config}: expected a JSON object; download it again")
    for key, number in _numbers(content):
        most = COUNTS.get(key, LARGEST_NUMBER)
        if abs(number) > most:
            raise UserError(
                f"model.path: {config}: {key}: found {shorten(number, 30)}, expected at most "
                f"{most:,}"
            )


def read_json(file: Path) -> Any:
    """The content of a JSON file. Raises UserError if it is none."""
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else error
        raise UserError(
            f"model.path: {file} is not JSON ({' '.join(str(reason).split())[:120]}); download "
            "it again"
        ) from error


def _numbers(content: Any) -> Iterator[tuple[str, int]]:
    """Every whole number of a configuration, with the key that it stands under."""
    left = [("config.json", content)]
    while left:
        key, item = left.pop()
        if isinstance(item, dict):
            left += [(str(name), inner) for name, inner in item.items()]
        elif isinstance(item, list):
            left += [(key, inner) for inner in item]
        elif type(item) is int:
            yield key, item


def check_buffers(name: str, model: Any) -> None:
    """Raise UserError if a model, built without values, would fill memory beside its weights."""
    size = sum(buffer.numel() * buffer.element_size() for buffer in model.buffers())
    if size > MOST_BUFFERS:
        raise UserError(
            f"model.path: {name} has tables of {size / 1e9:,.0f} GB beside its weights, expected "
            f"at most {MOST_BUFFERS >> 30} GiB; its config.json is damaged"
        )

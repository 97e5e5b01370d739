"""The settings of a run, saved as YAML beside its store, from where it can be replayed.

The settings that made a score or an evaluation are also attributes of its group: those stay, one
set for each, whatever is run later (`vxstore info STORE --settings NAME`).
"""

import dataclasses
import sys
from pathlib import Path
from typing import Any

import yaml

from vxdist.config import Config
from vxdist.names import name_evaluations
from vxdist.ranks import is_first_rank
from vxdist.yaml_text import load_yaml
from vxstore.io.lock import require_own
from vxstore.io.scratch import write_whole
from vxstore.io.storage import beside, is_url
from vxstore.read import open_store

HEAD = "# vxdist: resolved settings; replay"
"""How the first line of a file begins that vxdist wrote."""
LATER = ("attribute", "reduce", "evaluate", "report")
"""Stages that have a section of their own; locate decides all the others."""
GROUPS = {"reduce": ("scores", "selector"), "evaluate": ("evaluation", "outcome")}
"""Where a stage writes in the store, and the setting that names its group where `name` does not."""


def save_settings(config: Config, stage: str) -> None:
    """Save the settings of a stage that ran.

    A later stage replaces only its own section, and keeps even that while it describes another
    score or evaluation that is in the store. A file that somebody else wrote, or wrote notes in,
    stays as it is. Raises StoreError if another run has taken the store over.
    """
    if not is_first_rank():
        return
    storage, name = beside(config.store, ".yaml")
    settings = dataclasses.asdict(config)
    del settings["take_over"]
    require_own(config.store)
    head = f"{HEAD} with `vxdist run --config {name}`\n"
    try:
        if (there := storage.read(name)) is not None:
            saved = _read_own(there)
            if saved is None:
                print(
                    f"warning: {name} is not as vxdist writes it, so it is left as it is; `vxstore "
                    f"info {config.store} --settings NAME` prints the settings of a group",
                    file=sys.stderr,
                )
                return
            settings = _merge(config.store, stage, saved, settings)
        _write(config.store, name, (head + _dump(settings)).encode())
    except OSError as error:
        print(f"warning: {name} was not written ({error.strerror})", file=sys.stderr)


def _write(store: str, name: str, data: bytes) -> None:
    """Write a file beside the store; what a killed process has left of it is removed."""
    if is_url(store):
        beside(store, "")[0].write(name, data)
        return
    with write_whole(Path(store.rstrip("/")).parent / name) as partial:
        partial.write_bytes(data)


def _dump(settings: dict[str, Any]) -> str:
    return str(yaml.safe_dump(settings, allow_unicode=True, sort_keys=False))


def _read_own(there: bytes) -> dict[str, Any] | None:
    """The settings of a file that vxdist wrote; None if it is the user's, or has notes in it, which
    would be lost."""
    try:
        head, _, text = there.decode().partition("\n")
        saved = load_yaml(text) if head.startswith(HEAD) else None
    except ValueError:
        return None
    return saved if isinstance(saved, dict) and _dump(saved) == text else None


def _merge(
    path: str, stage: str, saved: dict[str, Any], settings: dict[str, Any]
) -> dict[str, Any]:
    """The saved sections, with those of this stage replaced by its settings."""
    sections = [stage] if stage in LATER else [key for key in settings if key not in LATER]
    replaced = {
        key: settings[key]
        for key in sections
        if not _is_of_another(path, key, saved.get(key), settings[key])
    }
    return {**settings, **saved, **replaced}


def _is_of_another(path: str, section: str, saved: Any, settings: Any) -> bool:
    """Whether a saved section made another group than these settings, which is in the store."""
    if section not in GROUPS or not isinstance(saved, dict):
        return False
    kind, default = GROUPS[section]
    there, here = (
        set(name_evaluations(found.get(default) or "", found.get("name")).values())
        for found in (saved, settings)
    )
    return bool(there - here) and bool(there & set(open_store(path).names(kind)))

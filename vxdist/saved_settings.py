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

LATER = ("attribute", "reduce", "evaluate", "report")
"""Stages that have a section of their own; locate decides all the others."""
GROUPS = {"reduce": ("scores", "selector"), "evaluate": ("evaluation", "outcome")}
"""Where a stage writes in the store, and the setting that names its group where `name` does not."""


def save_settings(config: Config, stage: str) -> None:
    """Save the settings of a stage that ran.

    A later stage replaces only its own section, and keeps even that while it describes another
    score or evaluation that is in the store. Raises StoreError if another run has taken the store
    over.
    """
    if not is_first_rank():
        return
    storage, name = beside(config.store, ".yaml")
    settings = dataclasses.asdict(config)
    del settings["take_over"]
    require_own(config.store)
    if (saved := storage.read(name)) is not None:
        try:
            earlier = load_yaml(saved.decode())
        except ValueError as error:
            print(f"warning: {name} was left as it is: {error}", file=sys.stderr)
            return
        if isinstance(earlier, dict):
            settings = _merge(config.store, stage, earlier, settings)
    text = yaml.safe_dump(settings, allow_unicode=True, sort_keys=False)
    head = f"# vxdist: resolved settings; replay with `vxdist run --config {name}`\n"
    try:
        _write(config.store, name, (head + text).encode())
    except OSError as error:
        print(f"warning: {name} was not written ({error.strerror})", file=sys.stderr)


def _write(store: str, name: str, data: bytes) -> None:
    """Write a file beside the store; what a killed process has left of it is removed."""
    if is_url(store):
        beside(store, "")[0].write(name, data)
        return
    with write_whole(Path(store.rstrip("/")).parent / name) as partial:
        partial.write_bytes(data)


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

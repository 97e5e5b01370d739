"""Check that an existing store belongs to this run; refuse to resume another run's."""

from collections.abc import Mapping
from typing import Any

from vxstore.errors import StoreError
from vxstore.io import arrays
from vxstore.io.metadata import FILE, STATE_COMPLETE, is_listed, read_root
from vxstore.io.storage import OF_WINDOWS, find_storage
from vxstore.read import STATE_CREATING, read_root_attrs
from vxstore.statistics import recorded_names
from vxstore.text import shorten


def holds_store(path: str) -> bool:
    """Whether a fully created store is at `path`; False if nothing is, or a creation cut short.

    Raises StoreError if something else is there.
    """
    storage = find_storage(path)
    if storage.size(FILE) is None:
        # A kill in the middle of the first write leaves a *.partial behind.
        here = storage.children()
        passed_over = (".DS_Store", *OF_WINDOWS)
        rest = [n for n in here if not (n.endswith(".partial") or n in passed_over)]
        if storage.size("") is None and not rest:
            return False
    elif read_root(path)["attributes"].get("state") == STATE_CREATING:
        return False
    read_root_attrs(path)
    return True


IDENTITY = ("model_fingerprint", "dtype", "corpus_digest", "plan_digest")
"""Attributes that must be equal for a run to go on with a store."""
ABSENT = {"compile": "none"}
"""The same, and what is meant where an attribute is absent."""
LATER = ("model_digest",)
"""The same, of stores whose version wrote them."""


def refuse_other(path: str, attrs: Mapping[str, Any]) -> None:
    """Raise StoreError, saying what differs, unless the store was made by the run `attrs` tell."""
    there = read_root_attrs(path)
    compared = (*IDENTITY, *(key for key in LATER if key in there and key in attrs))
    differ = [key for key in compared if there.get(key) != attrs[key]]
    differ += [key for key in ABSENT if there.get(key, ABSENT[key]) != attrs.get(key, ABSENT[key])]
    if "model_fingerprint" in differ and "model_digest" in differ:
        differ.remove("model_digest")  # it says nothing more
    shown: list[str] = []
    old, new = (", ".join(recorded_names(of)) for of in (there, attrs))
    if old != new:
        shown.append(f"locate.statistics is {old} there, {new} here")
    if not differ and not shown:
        return
    if differ == ["plan_digest"]:
        _refuse_other_plan(path, there, attrs)
    for key in differ:
        if key == "plan_digest" and len(differ) > 1:
            continue  # another model or corpus always means another plan
        shown += _differences(key, there, attrs)
    raise StoreError(
        f"{path} was made by another run: {'; '.join(shown)}. Choose another store, or restore "
        "these settings"
    )


def _refuse_other_plan(path: str, there: Mapping[str, Any], here: Mapping[str, Any]) -> None:
    """Raise StoreError if another version cut the stories into parts, in its own way."""
    old, new = (of.get("plan_version", 1) for of in (there, here))
    if old != new:
        whose = "an earlier" if old < new else "a later"
        fix = (
            "the stages after locate can use it as it is"
            if there["state"] == STATE_COMPLETE
            else "finish it with the vxdist that began it"
        )
        raise StoreError(
            f"{path} was made by {whose} version of vxdist, whose parts hold other stories (plan "
            f"{old}, here {new}). Choose another store, or {fix}"
        )


def refuse_other_computation(path: str, here: Mapping[str, Any]) -> None:
    """Raise StoreError if parts are still to be recorded, and what is there was computed otherwise.

    `here` says how this run computes; a store of an earlier version does not say, and is not
    compared.
    """
    there = read_root_attrs(path).get("computation", {})
    differ = [
        f"{key} is {there[key]} there, {here[key]} here"
        for key in here
        if key in there and there[key] != here[key]
    ]
    if differ:
        raise StoreError(
            f"{path} was begun by a run that rounds differently: {'; '.join(differ)}. Resume it as "
            "it was begun, or choose another store"
        )


def _differences(key: str, there: Mapping[str, Any], here: Mapping[str, Any]) -> list[str]:
    """How one attribute differs, in the user's own settings where possible."""
    if key == "plan_digest":
        old, new = there.get("plan_settings", {}), here["plan_settings"]
        changed = [
            f"locate.{k} is {shorten(old.get(k))} there, {shorten(new[k])} here"
            for k in new
            if new[k] != old.get(k)
        ]
        return changed or ["the tokenizer gives other tokens"]
    named = {"model_fingerprint": "model", "model_digest": "model", "corpus_digest": "corpus"}
    name = named.get(key, key)
    label = {"dtype": "model.dtype", "compile": "model.compile"}.get(name, name)
    old, new = there.get(name, ABSENT.get(name)), here.get(name, ABSENT.get(name))
    if old == new:
        return [f"{label} {new} has other content now ({key} differs)"]
    return [f"{label} is {shorten(old, 200)} there, {shorten(new, 200)} here"]


def check_name(name: str, key: str) -> None:
    """Raise StoreError, naming the setting `key`, if a score or evaluation cannot be called so."""
    if not name or "/" in name or name.startswith("."):
        raise StoreError(f"{key}: {name!r} must be a plain name without '/'")


def finished_alike(
    path: str,
    name: str,
    attrs: Mapping[str, Any],
    key: str,
    *,
    absent: Mapping[str, Any] | None = None,
) -> bool:
    """Whether group `name` is finished with the same `attrs`.

    `absent` says what an attribute means that earlier versions did not write. Raises StoreError,
    naming the setting `key` to change, if it is finished with others.
    """
    return _marked_alike(path, name, "complete", attrs, key, absent)


def begun_alike(
    path: str,
    name: str,
    attrs: Mapping[str, Any],
    key: str,
    *,
    absent: Mapping[str, Any] | None = None,
) -> bool:
    """Whether group `name` was begun, perhaps not finished, with the same `attrs`.

    `absent` is that of `finished_alike`. Raises StoreError, naming the setting `key` to change, if
    it was begun with others.
    """
    return _marked_alike(path, name, "created", attrs, key, absent)


def _marked_alike(
    path: str,
    name: str,
    mark: str,
    attrs: Mapping[str, Any],
    key: str,
    absent: Mapping[str, Any] | None,
) -> bool:
    if find_storage(path).size(f"{name}/{FILE}") is None:
        return False
    group = arrays.open_group(path, name)
    if not group.attrs.get(mark) or (mark == "complete" and not is_listed(read_root(path), name)):
        return False
    differ = _flat_differences({**(absent or {}), **group.attrs.asdict()}, attrs)
    if differ:
        raise StoreError(
            f"{path}/{name} was made with other settings: {'; '.join(differ)}. Choose another "
            f"{key}, or restore these settings"
        )
    return True


def _flat_differences(there: Mapping[str, Any], here: Mapping[str, Any]) -> list[str]:
    found: list[str] = []
    for key, new in here.items():
        old = there.get(key)
        if isinstance(new, Mapping) and isinstance(old, Mapping):
            found += _flat_differences(old, new)
        elif old != new:
            found.append(f"{key} is {shorten(old)} there, {shorten(new)} here")
    return found

"""The store's own metadata: the root's zarr.json, which vouches for all the others by digests.

Every change of the root is one write of one file, so that a kill leaves the old or the new. The
root's attribute `metadata_digests` holds the SHA-256 of each zarr.json of what is finished, and
its first, `metadata_digest`, its own (taken with 64 zeros in the digest's place).
"""

import datetime
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from vxstore.errors import StoreError
from vxstore.io.digests import REVISION
from vxstore.io.digests import digest as _digest
from vxstore.io.guard import LARGEST_METADATA, check_array
from vxstore.io.lock import require_own
from vxstore.io.one_run import check_one_run
from vxstore.io.storage import Storage, find_storage, is_foreign

FILE = "zarr.json"
OWN, OTHERS = "metadata_digest", "metadata_digests"
DERIVED = ("scores", "evaluation", "attribution")
BELOW = ("effect", "languages", "dose")
"""Groups below a derived one that are finished by themselves."""
ZEROS = "0" * 64
STATE_COMPLETE = "complete"

Document = dict[str, Any]


def read_document(storage: Storage, name: str, what: str) -> tuple[Document, bytes]:
    """One zarr.json, and its bytes. Raises StoreError if it is not there or cannot be read."""
    size = storage.size(name)
    if size is None:
        raise StoreError(f"{what} is missing; restore it from a copy")
    if size > LARGEST_METADATA:
        raise StoreError(f"{what} has {size:,} bytes; expected at most {LARGEST_METADATA:,}")
    data = storage.read(name) or b""
    try:
        doc = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise StoreError(f"{what} is damaged: it is not JSON") from error
    if not isinstance(doc, dict) or doc.get("zarr_format") != 3:
        raise StoreError(f"{what} is not of Zarr v3")
    return doc, data


def read_root(path: str) -> Document:
    """The root's zarr.json, its digest verified where it has one.

    Raises StoreError if it is missing or damaged.
    """
    doc, data = read_document(find_storage(path), FILE, f"{path}/{FILE}")
    attrs = doc.get("attributes")
    if doc.get("node_type") != "group" or not isinstance(attrs, dict):
        raise StoreError(f"{path}/{FILE} is not that of a Zarr group")
    if OWN in attrs or OTHERS in attrs:
        own, others = attrs.get(OWN), attrs.get(OTHERS)
        sound = isinstance(own, str) and len(own) == 64 and isinstance(others, dict)
        if not sound or _digest(data.replace(str(own).encode(), ZEROS.encode())) != own:
            raise StoreError(
                f"{path}/{FILE} is damaged: its digest differs; restore it from a copy"
            )
    return doc


def is_listed(root: Document, group: str) -> bool:
    """Whether a finished group is vouched for; stores without digests vouch for all."""
    digests = root["attributes"].get(OTHERS)
    return digests is None or f"{group}/{FILE}" in digests


def read_group(path: str, group: str, root: Document) -> dict[str, Document]:
    """The zarr.json of the arrays of a group, by name: verified, and harmless to open.

    `root` is what `read_root` gave. Raises StoreError, naming what is wrong.
    """
    storage = find_storage(path)
    prefix = f"{group}/" if group else ""
    digests: Mapping[str, str] | None = root["attributes"].get(OTHERS)
    of_group = {group: _read_verified(storage, path, f"{prefix}{FILE}", digests)} if group else {}
    vouched = digests is not None and (not group or f"{prefix}{FILE}" in digests)
    arrays = {}
    for child in storage.children(group):
        name = f"{prefix}{child}/{FILE}"
        if child == FILE or is_foreign(child) or storage.size(name) is None:
            continue
        if vouched and digests is not None and name not in digests:
            if child in (*DERIVED, *BELOW):
                continue  # a group that is being written
            raise StoreError(f"{path}/{prefix}{child} does not belong to the store; remove it")
        doc = _read_verified(storage, path, name, digests)
        if doc.get("node_type") == "group":
            continue
        check_array(f"{path}/{prefix}{child}", doc)
        arrays[child] = doc
    if vouched and digests is not None:
        for name in digests:
            head, _, child = name.removesuffix(f"/{FILE}").rpartition("/")
            if head == group and storage.size(name) is None:
                raise StoreError(f"{path}/{prefix}{child} is missing; restore it from a copy")
    check_one_run(path, of_group | {f"{prefix}{child}": doc for child, doc in arrays.items()})
    return arrays


def _read_verified(
    storage: Storage, path: str, name: str, digests: Mapping[str, str] | None
) -> Document:
    doc, data = read_document(storage, name, f"{path}/{name}")
    if digests is not None and name in digests and _digest(data) != digests[name]:
        raise _differs(path, name)
    return doc


def _differs(path: str, name: str) -> StoreError:
    return StoreError(f"{path}/{name} is damaged: its digest differs; restore it from a copy")


def commit(path: str, attrs: Mapping[str, Any], *, without: Sequence[str] = ()) -> None:
    """Set root attributes and vouch for all that is finished, but for the groups `without`.

    The metadata are consolidated too (in stores of formats 1 and 2 once they are complete), so that
    `xarray.open_zarr(path)` opens the store without a warning. Raises StoreError if what was
    vouched for before is damaged.
    """
    storage = find_storage(path)
    root = read_root(path)
    found = dict(_finished(storage, path, "", without))
    _check_unchanged(path, root, found, without)
    check_one_run(path, {name: json.loads(data) for name, data in found.items()})
    merged = {OWN: ZEROS} | root.get("attributes", {}) | dict(attrs) | {OWN: ZEROS}
    merged[REVISION] = _revision(root) + 1
    merged[OTHERS] = {f"{name}/{FILE}": _digest(data) for name, data in sorted(found.items())}
    doc = {"attributes": merged, "zarr_format": 3, "node_type": "group"}
    if merged.get("state") == STATE_COMPLETE or merged.get("format_version", 0) >= 3:
        doc["consolidated_metadata"] = {
            "kind": "inline",
            "must_understand": False,
            "metadata": {name: _whole(json.loads(data)) for name, data in sorted(found.items())},
        }
    text = json.dumps(doc, indent=2).encode()
    require_own(path)
    storage.write(FILE, text.replace(ZEROS.encode(), _digest(text).encode(), 1))
    for child in storage.children():
        if child.endswith(".partial"):  # of a kill within an earlier commit; zarr warns of it
            storage.remove(child)


def next_revision(path: str) -> int:
    """The revision of the root that the next commit will write: it vouches for what is finished
    now, and an older root that is put back is known by it."""
    return _revision(read_root(path)) + 1


def _revision(root: Document) -> int:
    found = root.get("attributes", {}).get(REVISION, 0)
    return found if isinstance(found, int) else 0


def utc_now() -> str:
    """The time, for an attribute `created`: ISO 8601, to the second."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def _whole(doc: Document) -> Document:
    """As zarr consolidates: a group says that nothing is below it but what is listed."""
    if doc["node_type"] == "group":
        doc["consolidated_metadata"] = {"kind": "inline", "must_understand": False, "metadata": {}}
    return doc


def _check_unchanged(
    path: str, root: Document, found: Mapping[str, bytes], without: Sequence[str]
) -> None:
    """Damage must not be vouched for."""
    for file, digest in root["attributes"].get(OTHERS, {}).items():
        name = file.removesuffix(f"/{FILE}")
        if not any(f"{name}/".startswith(f"{group}/") for group in without) and (
            name not in found or _digest(found[name]) != digest
        ):
            raise _differs(path, file)


def _finished(
    storage: Storage, path: str, group: str, without: Sequence[str]
) -> Iterator[tuple[str, bytes]]:
    """Every zarr.json below a group, but for those of derived groups that are not complete."""
    prefix = f"{group}/" if group else ""
    for child in storage.children(group):
        name = prefix + child
        if child == FILE or is_foreign(child) or name in without:
            continue
        if storage.size(f"{name}/{FILE}") is None:
            continue
        doc, data = read_document(storage, f"{name}/{FILE}", f"{path}/{name}/{FILE}")
        if doc.get("node_type") == "array":
            yield name, data
            continue
        derived = name.split("/")[0] in DERIVED and "/" in name
        if not derived or dict(doc.get("attributes", {})).get("complete"):
            yield name, data
            yield from _finished(storage, path, name, without)

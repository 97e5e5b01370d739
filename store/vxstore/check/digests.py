"""Verifying that all chunks are those that the store vouches for: no other, none of another array.

Nothing is decoded here: chunks are compared, byte by byte, with the digests that were taken when
they were written.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from vxstore.check.findings import RECOMPUTE, RELIST, RERECORD, RESTORE, Report
from vxstore.errors import DAMAGE, StoreError
from vxstore.finalise import read_scalars
from vxstore.io import arrays
from vxstore.io.digests import DATA, REVISION, SEALS, digest, digest_arrays, digest_seals, read_seal
from vxstore.io.metadata import (
    BELOW,
    DERIVED,
    FILE,
    STATE_COMPLETE,
    Document,
    is_listed,
    read_document,
    read_group,
    read_root,
)
from vxstore.io.storage import Storage, find_storage, is_foreign
from vxstore.schema import SEAL
from vxstore.statistics import recorded_names

LARGEST_FILE = 4 << 30
"""Bytes of a file that holds a chunk or a shard."""
SEALED = {"record": "part", "evaluation": "condition", "attribution": "dilemma"}
"""Groups that are sealed entry by entry, and the dimension."""
OTHER = "not what was written"


def check_digests(path: str, report: Report) -> None:
    """Add a finding for each array whose chunks are not those vouched for, unless it has one; and a
    note that names the groups of earlier versions, for which nothing vouches."""
    root, storage = read_root(path), find_storage(path)
    for group in ("", "record", *_groups(storage)):
        if not group or group == "record" or is_listed(root, group):
            _check_group(path, group, root, report)
        else:
            _check_unlisted(path, group, root, report)


def _groups(storage: Storage) -> Iterator[str]:
    """Derived groups that are there, and those below them, finished or not."""
    for kind in DERIVED:
        for name in storage.children(kind):
            for group in (f"{kind}/{name}", *(f"{kind}/{name}/{below}" for below in BELOW)):
                if not is_foreign(group) and storage.size(f"{group}/{FILE}") is not None:
                    yield group


def _check_unlisted(path: str, group: str, root: Document, report: Report) -> None:
    """A group that is finished, of which the root does not know: an older root is in its place."""
    doc, _ = read_document(find_storage(path), f"{group}/{FILE}", f"{group}/{FILE}")
    attrs = doc.get("attributes", {})
    above = "/".join(group.split("/")[:2])
    if not attrs.get("complete") or (group != above and not is_listed(root, above)):
        return
    if "metadata_digests" not in root["attributes"]:
        return
    now, then = root["attributes"].get(REVISION, 0), attrs.get(REVISION, 0)
    was = "a run was killed as it ended, or an older zarr.json of the root was put back"
    if isinstance(then, int) and then > now + 1:
        was = f"the root's zarr.json is of revision {now}, older than the group's {then}"
    report.add(group, f"finished, and not listed in the root: {was}", RELIST)


def _check_group(path: str, group: str, root: Document, report: Report) -> None:
    fix = RECOMPUTE if group.split("/", maxsplit=1)[0] in DERIVED else RESTORE
    try:
        documents = read_group(path, group, root)
        file = f"{group}/{FILE}".lstrip("/")
        attrs = read_document(find_storage(path), file, file)[0].get("attributes", {})
    except (StoreError, *DAMAGE) as error:
        _add(report, group, str(error), fix)
        return
    dim = SEALED.get(group.split("/", maxsplit=1)[0]) if "sealed" in documents else None
    expected = attrs.get(DATA)
    if not isinstance(expected, dict) or (dim is not None and SEAL not in documents):
        if group:  # in the root everything but labels follows from the record
            report.unvouched.append(group)
        return
    rows: set[str] = set()
    if dim is not None:
        along = {n for n, doc in documents.items() if doc.get("dimension_names", [])[:1] == [dim]}
        rows = along - set(expected)
        of_all = attrs.get(SEALS) if dim != "part" else _of_record(root)
        _check_seals(path, group, dim, rows - {"sealed", SEAL}, of_all, report)
    _check_arrays(path, group, set(documents) - rows - _follows(group, root), expected, report)


def _of_record(root: Mapping[str, Any]) -> Any:
    """What vouches for the seals of all parts, in a complete store."""
    attrs = root["attributes"]
    return attrs.get(SEALS) if attrs.get("state") == STATE_COMPLETE else None


def _follows(group: str, root: Mapping[str, Any]) -> set[str]:
    """Arrays of the root that are computed again from the parts."""
    if group:
        return set()
    return {*recorded_names(root["attributes"]), "routed_count", "token_count", "story_count"}


def _check_arrays(
    path: str, group: str, names: set[str], expected: Mapping[str, Any], report: Report
) -> None:
    """The arrays of a group that are not sealed entry by entry."""
    storage = find_storage(path)
    fix = RECOMPUTE if group.split("/", maxsplit=1)[0] in DERIVED else RESTORE
    prefix = f"{group}/" if group else ""
    for name in sorted(names | set(expected)):
        array = f"{prefix}{name}"
        try:
            files = [f for f in storage.files(f"{array}/c") if not is_foreign(f)]
            chunks = {file: digest_file(storage, file) for file in files}
            found = digest_arrays(chunks, group).get(name)
        except (StoreError, *DAMAGE) as error:
            _add(report, array, str(error), fix)
            continue
        if name not in expected:
            _add(report, array, "nothing vouches for it", fix)
        elif found != expected[name]:
            _add(report, array, OTHER, fix)


def _check_seals(
    path: str, group: str, dim: str, rows: set[str], of_all: Any, report: Report
) -> None:
    """Every entry that is sealed, of all arrays that hold entries."""
    opened = arrays.open_group(path, group)
    array, sealed = f"{group}/{SEAL}", read_scalars(arrays.get_array(opened, "sealed"))
    seals = arrays.read_strings(arrays.get_array(opened, SEAL))
    fix = RERECORD if dim == "part" else RECOMPUTE
    keys = {name: arrays.get_array(opened, name) for name in rows}
    for index, text in enumerate(seals):
        if sealed[index] != 1:
            continue  # if it is damaged, there is a finding
        part = index if dim == "part" else None
        chunks = read_seal(text, dim, index)
        if chunks is None or rows - set(chunks):
            _add(report, array, f"{dim} {index}: it does not vouch for the entry", fix, part)
            continue
        for name in sorted(rows):
            key = arrays.entry_key(keys[name], index)
            what = _differs(path, f"{group}/{name}/{key}", chunks[name])
            if what is not None:
                _add(report, f"{group}/{name}", f"{dim} {index}: {what}", fix, part)
    known = any(f.array.startswith(f"{group}/") for f in report.findings)
    if not known and of_all is not None and digest_seals(seals) != of_all:
        fix = RESTORE if dim == "part" else RECOMPUTE
        report.add(array, "these are not the entries that were finished", fix)


def _differs(path: str, name: str, expected: str) -> str | None:
    """What is wrong with a chunk; None if it is the one vouched for."""
    try:
        return None if digest_file(find_storage(path), name) == expected else OTHER
    except (StoreError, *DAMAGE) as error:
        return str(error)


def digest_file(storage: Storage, name: str) -> str:
    """The digest of a file. Raises StoreError if it is missing, or too large for a chunk."""
    size = storage.size(name)
    if size is None or size > LARGEST_FILE:
        raise StoreError("a chunk is missing" if size is None else f"a chunk has {size:,} bytes")
    return digest(storage.read(name) or b"")


def _add(report: Report, array: str, what: str, fix: str, part: int | None = None) -> None:
    """Add a finding, unless there is one of the same array, and of the same part or of all."""
    if not any(f.array == array and f.part in (part, None) for f in report.findings):
        report.add(array, what, fix, part)

"""Verify an entire store; `repair` marks damaged parts for re-recording.

P: part, L: layer, N: neuron, V: value, G: language.
"""

import contextlib
import hashlib
from collections.abc import Callable

from vxstore.begun import remove_group
from vxstore.check.derived import bad_labels, check_group
from vxstore.check.digests import check_digests
from vxstore.check.findings import RECOMPUTE, RELIST, RERECORD, RESTORE, RETOTAL, Report
from vxstore.check.parts import check_parts
from vxstore.check.places import bad_places
from vxstore.errors import StoreError
from vxstore.finalise import forget_sums
from vxstore.io.guard import check_array
from vxstore.io.lock import hold
from vxstore.io.metadata import (
    DERIVED,
    FILE,
    OTHERS,
    commit,
    read_document,
    read_root,
)
from vxstore.io.storage import find_storage, is_foreign
from vxstore.read import STAGES, STATE_RECORDING, Store, read_root_attrs
from vxstore.write import Recorder


def check(path: str, advance: Callable[[int, int], object] = lambda done, total: None) -> Report:
    """Read a whole store, one chunk at a time, and verify that it is consistent.

    Verified are the digests of the metadata and of all chunks, their checksums, labels, that sealed
    parts are whole and obey 0 <= active count <= token count, that the root is the sum of its
    parts, and whatever scores, attributions and evaluations declare about their arrays. `advance`
    is called with the number of blocks of layers done, and their total. Raises StoreError if there
    is no store to check.
    """
    report = Report()
    try:
        read_root_attrs(path)
    except StoreError as error:
        if find_storage(path).size(FILE) is None and not find_storage(path).children():
            raise
        report.add(FILE, str(error), RESTORE)
        return report
    if not _check_documents(path, report):
        return report
    store = Store(path)
    if not _check_labels(store, report):
        return report
    check_parts(path, store, report, advance)
    for kind in DERIVED:
        for group in (f"{kind}/{name}" for name in store.names(kind)):
            if not any(finding.array.startswith(f"{group}/") for finding in report.findings):
                check_group(store, group, report)
    check_digests(path, report)
    _note_progress(report, store)
    return report


def _note_progress(report: Report, store: Store) -> None:
    if report.unvouched:
        groups = ", ".join(report.unvouched)
        report.notes.append(
            f"an earlier vxdist wrote {groups}: nothing vouches for each number, and what follows "
            "from others was verified"
        )
    if not store.complete and report.parts and report.sealed == report.parts:
        report.notes.append("all parts are recorded, and not summed yet: run `vxdist locate` again")


def _check_documents(path: str, report: Report) -> bool:
    """Verify every zarr.json; returns whether root and record can be read."""
    storage, root = find_storage(path), read_root(path)
    digests = root["attributes"].get(OTHERS)
    if digests is None:
        report.notes.append("written by an early vxdist: its metadata have no digests")
    files = list(storage.files())
    foreign = [name for name in files if is_foreign(name)]
    documents = [name for name in files if name.endswith(f"/{FILE}") and not is_foreign(name)]
    report.notes += [
        f"{name}: left behind by a run that was killed" for name in files if ".partial" in name
    ]
    if foreign:
        report.notes.append(
            f"{len(foreign)} files that are not the store's own, such as {foreign[0]}, are passed "
            "over; they can be removed"
        )
    readable = True
    for name in sorted({*documents, *(digests or ())}):
        array = name.removesuffix(f"/{FILE}")
        derived = array.split("/")[0] in DERIVED
        try:
            doc, data = read_document(storage, name, name)
            if digests is not None and name in digests:
                if hashlib.sha256(data).hexdigest() != digests[name]:
                    raise StoreError("its digest differs from the one in the root")
            elif digests is not None and not derived:
                raise StoreError("it does not belong to the store")
            if doc["node_type"] == "array":
                check_array(array, doc)
        except (StoreError, KeyError) as error:
            fix = RECOMPUTE if derived and "/" in array else RESTORE
            report.add(name, str(error), fix)
            readable = readable and fix != RESTORE
    return readable


def _check_labels(store: Store, report: Report) -> bool:
    for name, open_group in (("", store.root), ("record", store.record)):
        if name == "" and not store.complete:
            continue
        try:
            open_group()
        except (StoreError, ValueError, RuntimeError) as error:
            bad = list(bad_labels(store.path, name)) or [(f"{name}/coordinates", str(error))]
            for array, what in bad:
                report.add(array.lstrip("/"), what, RESTORE)
            return False
        for array in bad_places(store, open_group()):
            report.add(f"{name}/{array}".lstrip("/"), "not those of the blocks", RESTORE)
    return True


def describe_findings(report: Report) -> str:
    """How much is damaged, and what to do, on one line."""
    if any(finding.fix == RESTORE for finding in report.findings):
        what = "some of it can only be restored from a copy of the store"
    else:
        what = "`vxstore check STORE --repair` marks it to be rebuilt"
    count, parts = len(report.findings), len(report.bad_parts)
    noun = "finding" if count == 1 else "findings"
    return f"{count} {noun}, {parts} of {report.parts} parts; {what}"


def tidy(path: str) -> None:
    """Remove what a killed run left: its lock, and files that are not whole.

    Nothing is done if it may be alive, or where nothing can be written.
    """
    with contextlib.suppress(StoreError, OSError), hold(path):
        pass


def repair(path: str, report: Report, *, take_over: bool = False) -> list[str]:
    """Mark what is damaged to be rebuilt: un-seal parts, drop totals, remove derived groups.

    Returns what was done, and what to run. Raises StoreError if another run is writing the store,
    or if something can only be restored from a copy.
    """
    beyond = [f"{f.array} ({f.what})" for f in report.findings if f.fix == RESTORE]
    if beyond:
        raise StoreError(f"{path}: only a copy can restore {'; '.join(beyond)}")
    done = []
    with hold(path, take_over=take_over):
        again = any(f.fix in (RERECORD, RETOTAL) for f in report.findings)
        found = [f.array.split("/") for f in report.findings if f.fix == RECOMPUTE]
        bad = sorted({"/".join(names[:2]) for names in found})
        for group in bad:  # first, as nothing would find them again once they are not listed
            remove_group(path, group)
            done.append(f"removed {group}; run `vxdist {STAGES[group.split('/')[0]]}` again")
        commit(path, {"state": STATE_RECORDING} if again else {}, without=bad)
        if again:
            forget_sums(path)
            recorder = Recorder(path)
            for part in report.bad_parts:
                recorder.unseal(part)
            parts = len(report.bad_parts)
            done.append(f"un-sealed {parts} part{'s' * (parts != 1)}; run `vxdist locate` again")
        done += [f"listed {f.array} again" for f in report.findings if f.fix == RELIST]
    return done

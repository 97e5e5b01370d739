"""Reading a store whole, and naming what is damaged; `repair` has just that made anew.

P: part, L: layer, N: neuron, V: value, G: language.
"""

import hashlib
from collections.abc import Callable

from vxstore.check.derived import bad_labels, check_group
from vxstore.check.findings import COPY, DERIVED_GROUP, PART, ROOT_SUM, Report
from vxstore.check.parts import check_parts
from vxstore.errors import StoreError
from vxstore.finalise import forget_sums
from vxstore.io.guard import check_array
from vxstore.io.lock import hold
from vxstore.io.metadata import DERIVED, FILE, OTHERS, commit, read_document, read_root
from vxstore.io.storage import find_storage, is_foreign
from vxstore.read import STATE_RECORDING, Store, read_root_attrs
from vxstore.write import Recorder


def check(path: str, advance: Callable[[int, int], object] = lambda done, total: None) -> Report:
    """Read all of a store, a chunk at a time, and verify it against itself.

    Digests of the metadata; checksums of every chunk; labels; that sealed parts are whole and obey
    0 <= active count <= token count; that the root is the sum of its parts; scores against the
    root; evaluations. `advance` is told how many blocks of layers are done, and of how many.
    Raises StoreError if nothing that could be checked is there.
    """
    report = Report()
    try:
        read_root_attrs(path)
    except StoreError as error:
        if find_storage(path).size(FILE) is None and not find_storage(path).children():
            raise
        report.add(FILE, str(error), COPY)
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
    return report


def _check_documents(path: str, report: Report) -> bool:
    """Verify every zarr.json; whether root and record can be read."""
    storage, root = find_storage(path), read_root(path)
    digests = root["attributes"].get(OTHERS)
    if digests is None:
        report.notes.append("written by an early vxdist: its metadata carry no digests")
    files = list(storage.files())
    foreign = [name for name in files if is_foreign(name)]
    documents = [name for name in files if name.endswith(f"/{FILE}") and not is_foreign(name)]
    report.notes += [f"{name}: left behind by a kill" for name in files if ".partial" in name]
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
            mend = DERIVED_GROUP if derived and "/" in array else COPY
            report.add(name, str(error), mend)
            readable = readable and mend != COPY
    return readable


def _check_labels(store: Store, report: Report) -> bool:
    for name, open_ in (("", store.root), ("record", store.record)):
        if name == "" and not store.complete:
            continue
        try:
            open_()
        except (StoreError, ValueError, RuntimeError) as error:
            bad = list(bad_labels(store.path, name)) or [(f"{name}/coordinates", str(error))]
            for array, what in bad:
                report.add(array.lstrip("/"), what, COPY)
            return False
    return True


def describe_findings(report: Report) -> str:
    """How much is damaged, and what to do, on one line."""
    if any(f.mend == COPY for f in report.findings):
        what = "what only a copy can restore is among it; take the store from a copy"
    else:
        what = "`vxstore check STORE --repair` has it made anew"
    parts = len(report.bad_parts)
    return f"{len(report.findings)} findings, {parts} of {report.parts} parts; {what}"


def repair(path: str, report: Report, *, take_over: bool = False) -> list[str]:
    """Have what is damaged made anew: un-seal parts, forget sums, remove scores and evaluations.

    Returns what was done, and what to run. Raises StoreError if another run writes the store, or
    if something can only be restored from a copy.
    """
    beyond = [f"{f.array} ({f.what})" for f in report.findings if f.mend == COPY]
    if beyond:
        raise StoreError(f"{path}: only a copy can restore {'; '.join(beyond)}")
    told = []
    with hold(path, take_over=take_over):
        again = any(f.mend in (PART, ROOT_SUM) for f in report.findings)
        found = [f.array.split("/") for f in report.findings if f.mend == DERIVED_GROUP]
        bad = sorted({"/".join(names[:2]) for names in found})
        commit(path, {"state": STATE_RECORDING} if again else {}, without=bad)
        if again:
            forget_sums(path)
            recorder = Recorder(path)
            for part in report.bad_parts:
                recorder.unseal(part)
            told.append(f"un-sealed {len(report.bad_parts)} parts; run `vxdist locate` again")
        for group in bad:
            find_storage(path).remove(group)
            stage = "reduce" if group.startswith("scores") else "evaluate"
            told.append(f"removed {group}; run `vxdist {stage}` again")
    return told

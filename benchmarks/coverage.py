"""Which of transformers' model types vxdist supports, proven on a small random model of each.

    python benchmarks/coverage.py --out runs/coverage.json --types llama qwen3

Without --types: all decoders of AutoModelForCausalLM and AutoModelForImageTextToText,
a second or two each. A model is built small, saved, described, loaded, and taken through the
self-test; batches are counted, which must leave the logits as they were, to the bit, and whose
counts must equal those of a plain recomputation; and masking must equal zeroing columns of the down
projection. Each type runs in a process of its own, which is killed after --seconds.

What stands in --out of the same versions is not run again. Writes JSON, and a table beside it
(.md). Prints the shares of types, and of the usage in covered/usage.csv, whose points are a
judgement of how much models are used in research at the end of 2026.
"""

import argparse
import csv
import json
import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
os.environ.setdefault("OMP_NUM_THREADS", "1")

from covered.proof import STEPS, prove
from covered.shrink import VARIANTS
from covered.types import all_types, kind_of

USAGE = Path(__file__).with_name("covered") / "usage.csv"
VERSIONS = ("vxdist", "transformers", "torch")
Rows = Mapping[str, Mapping[str, Any]]


def main() -> None:
    """Prove what is not proven yet, write JSON and a table, and print the shares."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="JSON to write, or go on with")
    parser.add_argument("--types", nargs="+", metavar="TYPE", help="model types, or TYPE:VARIANT")
    parser.add_argument("--seconds", type=float, default=120, help="longest time for a type")
    options = parser.parse_args()
    known = [*all_types(), *VARIANTS]
    names = options.types or known
    unknown = sorted(set(names) - set(known))
    if unknown:
        parser.error(f"--types: {unknown[0]} is no decoder of this transformers")
    versions = {name: version(name) for name in VERSIONS}
    rows = _read(options.out, versions)
    for row in prove_each([name for name in names if name not in rows], options.seconds):
        rows[row["type"]] = row
        _write(options.out, versions, rows)
        print(f"{row['type']}: {'proven' if row['proven'] else row.get('why')}", file=sys.stderr)
    _write(options.out, versions, rows)
    options.out.with_suffix(".md").write_text(table(rows), encoding="utf-8")
    print(json.dumps(shares(rows), indent=2))


def prove_each(
    names: Sequence[str],
    seconds: float,
    prover: Callable[[str], dict[str, Any]] = prove,
) -> Iterator[dict[str, Any]]:
    """A row for each type, each made by a process of its own that has so long."""
    context = multiprocessing.get_context("fork")  # which has imported transformers already
    for name in names:
        start = time.monotonic()
        receiver, sender = context.Pipe(duplex=False)
        process = context.Process(target=_send, args=(prover, name, sender))
        process.start()
        sender.close()
        row = _failed(name, f"not done in {seconds:g} s")
        if receiver.poll(seconds):
            try:
                row = receiver.recv()
            except EOFError:
                process.join()
                row = _failed(name, f"its process ended with {process.exitcode}")
        process.kill()
        process.join()
        yield row | {"seconds": round(time.monotonic() - start, 1)}


def _send(prover: Callable[[str], dict[str, Any]], name: str, sender: Any) -> None:
    sys.stderr = sys.stdout = open(os.devnull, "w")  # noqa: SIM115 for the life of the process
    sender.send(prover(name))


def _failed(name: str, why: str) -> dict[str, Any]:
    steps = dict.fromkeys(STEPS, False)
    return {"type": name, "kind": kind_of(name), **steps, "why": why, "proven": False}


def _read(out: Path, versions: Mapping[str, str]) -> dict[str, Any]:
    """Rows of the same versions, by type."""
    if not out.is_file():
        return {}
    found = json.loads(out.read_text(encoding="utf-8"))
    if found["versions"] != versions:
        sys.exit(f"error: {out} is of other versions: {found['versions']}; choose another --out")
    return {row["type"]: row for row in found["types"]}


def _write(out: Path, versions: Mapping[str, str], rows: Rows) -> None:
    ordered = [rows[name] for name in sorted(rows)]
    found = {"versions": versions, "shares": shares(rows), "types": ordered}
    aside = out.with_suffix(".part")
    aside.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    aside.replace(out)


def shares(rows: Rows) -> dict[str, Any]:
    """How many types of each kind hold each step, and the share of usage that is proven.

    A row of the usage table counts as far as its types are proven; types that were not run do not.
    """
    kinds = sorted({str(row["kind"]) for row in rows.values()})
    by_kind = {
        kind: {
            "types": len(of := [row for row in rows.values() if row["kind"] == kind]),
            **{step: sum(row[step] for row in of) for step in (*STEPS, "proven")},
        }
        for kind in kinds
    }
    with USAGE.open(encoding="utf-8") as stream:
        usage = [(float(row["points"]), row["types"].split()) for row in csv.DictReader(stream)]
    proven = sum(
        points * sum(bool(rows.get(name, {}).get("proven")) for name in types) / len(types)
        for points, types in usage
    )
    total = sum(points for points, _ in usage)
    return {
        "by_kind": by_kind,
        "usage": {"points": round(proven, 2), "of": round(total, 2), "share": proven / total},
    }


def table(rows: Rows) -> str:
    """One row a type, in Markdown."""
    head = ("type", "kind", "built", "accepted", "layout", "neurons", "proven", "why not")
    lines = [" | ".join(head), " | ".join("---" for _ in head)]
    for name in sorted(rows):
        row = rows[name]
        size = f"{row['num_layers']} x {row['num_neurons']}" if "num_layers" in row else ""
        said = [("yes" if row[step] else "no") for step in ("built", "accepted", "proven")]
        why = str(row.get("why", "")).replace("|", "/")
        cells = (name, row["kind"], *said[:2], row.get("layout", ""), size, said[2], why)
        lines.append(" | ".join(cells))
    return "\n".join(f"| {line} |" for line in lines) + "\n"


if __name__ == "__main__":
    main()

"""Memory that locate takes, measured and as `vxdist estimate` estimates it. Linux, on the CPU.

    python benchmarks/memory.py --config configs/demo.yaml --corpus.stories_per_group 45 \
        --locate.tokens_per_batch 8192

The seed's English stories form one part, so that a batch is full. Locate runs in a process of its
own. What is measured is its resident memory above that after imports and planning, before the model
is loaded: the peak, and separately anonymous memory and mapped files. Prints JSON.

There are two reasons for differences. Weights in the dtype of their files are mapped, and only
those that are read become resident: not the embeddings of tokens that do not occur. And glibc keeps
up to 64 MB of freed memory; with MALLOC_MMAP_THRESHOLD_=1048576 in the environment it returns all
of it.
"""

import dataclasses
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

from vxdist.config import CorpusConfig
from vxdist.corpus import load_corpus
from vxdist.estimate.assumptions import Assumptions
from vxdist.estimate.estimate import make_estimate
from vxdist.estimate.machine import MachineOptions, find_machine
from vxdist.estimate.texts import CorpusSize
from vxdist.locate.stage import create_store, describe_run, plan_run
from vxdist.locate.work import LocateWork
from vxdist.model.hook_points import HookPoints
from vxdist.model.load import describe_model
from vxdist.model.source import find_model
from vxdist.output import Output
from vxdist.runtime.loop import run_loop
from vxdist.runtime.work import Batch
from vxdist.settings import parse

LANGUAGE = "en"


class Watched(LocateWork):
    """Locate, reading the process's memory on the way."""

    def pending(self) -> Any:
        """Called just before the model is loaded."""
        self.before = read_memory()
        return super().pending()

    def attach(self, hook_points: HookPoints, device: torch.device) -> None:
        """Called when the model has been loaded and tested on a few tokens."""
        self.loaded = read_memory()
        super().attach(hook_points, device)

    def step(self, model: PreTrainedModel, batch: Batch) -> None:
        """One batch."""
        super().step(model, batch)
        self.peak = read_memory()


def main() -> None:
    """Measure, estimate and print."""
    if sys.argv[1:2] == ["--as-run"]:
        measure(sys.argv[2:])
        return
    with tempfile.TemporaryDirectory() as folder:
        arguments = [*sys.argv[1:], "--corpus.path", write_corpus(Path(folder))]
        arguments += ["--locate.parts_per_group", "1"]
        run = [sys.executable, __file__, "--as-run", *arguments, "--store", f"{folder}/run.zarr"]
        child = subprocess.run(run, check=True, stdout=subprocess.PIPE, text=True)
        measured = json.loads(child.stdout.splitlines()[-1])
        estimate = predict(arguments)
    needed = sum(estimate[name] for name in ("weights", "counts", "activations"))
    working = estimate["counts"] + estimate["activations"]
    result = {
        "command": " ".join(sys.argv),
        "MALLOC_MMAP_THRESHOLD_": os.environ.get("MALLOC_MMAP_THRESHOLD_"),
        **estimate,
        **measured,
        "estimated_over_measured": round(needed / measured["peak"], 3),
        "working_estimated_over_measured": round(working / measured["working"], 3),
    }
    print(json.dumps(result, indent=2))


def write_corpus(folder: Path) -> str:
    """The seed's stories in one language, all with the same value and stance."""
    items = [i for i in load_corpus(CorpusConfig()).activation if i.language == LANGUAGE]
    rows = [
        {**dataclasses.asdict(i), "value": "all", "stance": "aligned", "pair": i.id} for i in items
    ]
    text = "".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows)
    (folder / "activation.jsonl").write_text(text, encoding="utf-8")
    return str(folder)


def predict(arguments: list[str]) -> dict[str, Any]:
    """Bytes as `vxdist estimate` estimates them."""
    config, assume = parse("estimate", [*arguments, "--store", "none"]), Assumptions()
    machine = find_machine(config.trainer, MachineOptions(), assume)
    estimate = make_estimate(config, machine, CorpusSize(), assume)
    return {
        "model": config.model.path,
        "dtype": config.model.dtype,
        "largest_batch": [estimate.locate.rows, estimate.locate.width],
        "weights": estimate.chosen.weights,
        "counts": estimate.chosen.counts,
        "activations": estimate.chosen.locate,
    }


def measure(arguments: list[str]) -> None:
    """Run locate, and print its memory before and after loading the model, and at the peak."""
    config = parse("locate", arguments)
    corpus, source = load_corpus(config.corpus), find_model(config.model)
    shape = describe_model(source)
    plan = plan_run(config, corpus, source, shape)
    identity = describe_run(config, corpus, source, shape, plan)
    create_store(config.store, corpus, shape, plan, identity)
    work = Watched(plan, config.store)
    # The peak so far belongs to imports and planning.
    Path("/proc/self/clear_refs").write_text("5")
    run_loop(work, source, config, Output())
    file = max(memory["RssFile"] for memory in (work.loaded, work.peak))
    found = {
        "loaded_anonymous": work.loaded["RssAnon"] - work.before["RssAnon"],
        "mapped": file - work.before["RssFile"],
        "peak": work.peak["VmHWM"] - work.before["VmRSS"],
        # Mapped weights become resident when they are used, so they are subtracted from the peak.
        "working": work.peak["VmHWM"] - file - work.loaded["RssAnon"],
    }
    print(json.dumps(found))


def read_memory() -> dict[str, int]:
    """Resident memory of this process in bytes: total, peak, anonymous, and of mapped files."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    rows = (line.split() for line in lines)
    names = ("VmRSS:", "VmHWM:", "RssAnon:", "RssFile:")
    return {row[0][:-1]: int(row[1]) * 1024 for row in rows if row[0] in names}


if __name__ == "__main__":
    main()

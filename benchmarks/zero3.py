"""Memory of each rank while ZeRO-3 loads and runs a model, for several numbers of ranks.

    python benchmarks/zero3.py --ranks 1 2 4 --config configs/demo.yaml --corpus.stories_per_group 1

Every run is `locate` on this machine, compared with a run under strategy single. Numbers are the
largest over all ranks, in MB (10^6 bytes), above what the process held before loading: `parameters`
are the weights that stay on the rank; `load_peak` and `run_peak` are the private memory of the
process, sampled every 2 ms; `mapped_peak` is the pages of mapped weight files, which the system
reclaims when it needs them; `peak` is the larger of the first two peaks. `fall` gives weights and
peak relative to those with the fewest ranks. Prints JSON. Needs Linux.
"""

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from vxdist.corpus import load_corpus
from vxdist.locate.stage import create_store, describe_run, plan_run
from vxdist.locate.work import LocateWork
from vxdist.model.hook_points import HookPoints
from vxdist.model.load import describe_model
from vxdist.model.source import find_model
from vxdist.output import Output
from vxdist.runtime.launch import find_launch
from vxdist.runtime.loop import run_loop
from vxdist.runtime.work import Batch
from vxdist.settings import parse

OUT = "VXDIST_BENCHMARK_OUT"
"""Variable with the folder to which each rank writes its figures; set in measuring processes."""
SAMPLE_SECONDS = 0.002


class Memory:
    """Peak memory of this process since `begin`, by kind, in MB."""

    def __init__(self) -> None:
        self._base = self._now()
        self._peak = dict(self._base)

    def begin(self) -> None:
        """Measure relative to the memory held now."""
        self._base = self._now()
        self.restart()

    def restart(self) -> None:
        """Forget the peak so far."""
        self._peak = self._now()

    def peak(self, kind: str) -> float:
        """Largest growth in MB since `begin`, within the time since then or since `restart`."""
        return round(self._peak[kind] - self._base[kind], 1)

    @contextlib.contextmanager
    def sampled(self) -> Iterator[None]:
        """Sample every 2 ms while the context is open."""
        ended = threading.Event()

        def sample() -> None:
            while not ended.wait(SAMPLE_SECONDS):
                self._peak = {kind: max(v, self._peak[kind]) for kind, v in self._now().items()}

        sampler = threading.Thread(target=sample)
        sampler.start()
        try:
            yield
        finally:
            ended.set()
            sampler.join()

    def _now(self) -> dict[str, float]:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
        fields = dict(line.split(":", 1) for line in lines)
        return {k: int(fields[k].split()[0]) * 1024 / 1e6 for k in ("RssAnon", "RssFile")}


class Watched(LocateWork):
    """Locate, measuring the memory that it takes."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.memory = Memory()
        self.figures: dict[str, float] = {}
        self._began = 0.0

    def pending(self) -> Any:
        """Called last before the model is loaded."""
        found = super().pending()
        self.memory.begin()
        self._began = time.perf_counter()
        return found

    def attach(self, hook_points: HookPoints, device: torch.device) -> None:
        """Called first after the model is loaded."""
        self.figures["load_seconds"] = round(time.perf_counter() - self._began, 1)
        self.figures["load_peak"] = self.memory.peak("RssAnon")
        self.figures["mapped_peak"] = self.memory.peak("RssFile")
        self.memory.restart()
        super().attach(hook_points, device)

    def step(self, model: PreTrainedModel, batch: Batch) -> None:
        """Before the first batch, measure the weights held."""
        if "parameters" not in self.figures:
            self.figures["parameters"] = held_megabytes(model)
        super().step(model, batch)


def held_megabytes(model: nn.Module) -> float:
    """Weights that stay on this rank: its shards, and with shard_group those of its group."""
    total = 0
    for parameter in model.parameters():
        shards = [getattr(parameter, f"ds_{kind}tensor", None) for kind in ("", "secondary_")]
        kept = [shard for shard in shards if shard is not None] or [parameter]
        total += sum(shard.numel() * shard.element_size() for shard in kept)
    return round(total / 1e6, 1)


def measure(arguments: Sequence[str]) -> None:
    """One rank: run locate, and write its figures to the folder that the environment names."""
    config = parse("locate", arguments)
    launch = find_launch(config.trainer)
    corpus, source = load_corpus(config.corpus), find_model(config.model)
    shape = describe_model(source)
    plan = plan_run(config, corpus, source, shape)
    if launch.rank == 0:
        identity = describe_run(config, corpus, source, shape, plan)
        create_store(config.store, corpus, shape, plan, identity)
    work = Watched(plan, config.store)
    with work.memory.sampled():
        run_loop(work, source, config, Output())
    work.figures["run_peak"] = work.memory.peak("RssAnon")
    file = Path(os.environ[OUT]) / f"{launch.rank}.json"
    file.write_text(json.dumps(work.figures), encoding="ascii")


def start(ranks: int, strategy: str, options: Sequence[str]) -> dict[str, float]:
    """One run with this many ranks; returns the largest of each figure over them."""
    print(f"{strategy}, {ranks} ranks ...", file=sys.stderr, flush=True)
    with tempfile.TemporaryDirectory() as folder:
        command = [
            *(sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(ranks)),
            *("--rdzv-backend", "c10d", "--rdzv-endpoint", "127.0.0.1:0", __file__),
            *(*options, "--trainer.strategy", strategy, "--store", f"{folder}/x.zarr"),
        ]
        environ = {"OMP_NUM_THREADS": "1", **os.environ, OUT: folder}
        subprocess.run(command, env=environ, stdout=sys.stderr, check=True)
        figures = [json.loads(file.read_bytes()) for file in sorted(Path(folder).glob("*.json"))]
    assert len(figures) == ranks
    worst = {key: max(rank[key] for rank in figures) for key in figures[0]}
    return {**worst, "peak": max(worst["load_peak"], worst["run_peak"])}


def find_fall(runs: dict[int, dict[str, float]]) -> dict[str, dict[str, float]]:
    """By number of ranks, weights and peak of a rank relative to those with the fewest ranks."""
    first = runs[min(runs)]
    return {
        str(ranks): {key: round(run[key] / first[key], 3) for key in ("parameters", "peak")}
        for ranks, run in sorted(runs.items())
    }


def main() -> None:
    """Run with every number of ranks, and print the result."""
    if OUT in os.environ:
        measure(sys.argv[1:])
        return
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--ranks", type=int, nargs="+", default=[1, 2, 4])
    options, rest = parser.parse_known_args()
    config = parse("locate", [*rest, "--store", "unused"])
    single = start(1, "single", rest)
    runs = {ranks: start(ranks, "zero3", rest) for ranks in options.ranks}
    result: dict[str, Any] = {
        "model": config.model.path,
        "dtype": config.model.dtype,
        "offload": config.trainer.offload,
        "single": single,
        "zero3": {str(ranks): run for ranks, run in runs.items()},
        "fall": find_fall(runs),
    }
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()

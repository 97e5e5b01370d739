"""Cost of `vxdist reduce` on a record with the shape of Llama-3.1-70B. Linux.

    python benchmarks/reduce.py --layers 4 --out runs/reduce.zarr

The record is synthetic: dilemmas of 12 values, each told in two languages and two stances, a part
each; one neuron in ten is dead, and one in fifty prefers a value. Layers do not depend on each
other, so a few of them tell the time of all 80: that of the command's start, measured on its own,
and of a layer, so many times. Peak memory grows with the layers, and is only what was measured.
What follows `--` is passed on to `vxdist reduce`. Prints JSON.

Reduce runs in a process of its own. `cpu_seconds` (user and system) include its own children;
`peak_gigabytes` is the largest resident memory of any one process.
"""

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

VALUES = (
    "prosperity", "democracy", "civility", "harmony", "freedom", "equality",
    "justice", "rule_of_law", "patriotism", "dedication", "integrity", "friendliness",
)  # fmt: skip
LANGUAGES = ("zh", "en")
STANCES = ("aligned", "violating")
SETTINGS = 12
LAYERS_70B = 80
TOKENS = (150, 600)
"""Fewest and most tokens of a part."""


def main() -> None:
    """Write a store, reduce it, and print the cost."""
    arguments, passed_on = split(sys.argv[1:])
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument(
        "--out", type=Path, required=True, help="store to create; removed at the end"
    )
    parser.add_argument("--layers", type=int, default=LAYERS_70B)
    parser.add_argument("--neurons", type=int, default=28_672)
    parser.add_argument("--clusters", type=int, default=288, help="dilemmas of all values")
    parser.add_argument("--shuffles", type=int, default=200)
    parser.add_argument("--keep", action="store_true", help="keep the store")
    parser.add_argument("--write", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.clusters % len(VALUES):
        parser.error(f"--clusters {options.clusters} is no multiple of {len(VALUES)} values")
    if options.write:
        write(options)
        return
    if options.out.exists():
        sys.exit(f"error: {options.out} already exists; remove it, or choose another --out")
    # Memory counts from before a process starts its program, so this one stays small: no numpy.
    print("write ...", file=sys.stderr, flush=True)
    try:
        written = measure([__file__, *arguments, "--write"])
        reduced = measure_reduce(options, passed_on)
    finally:
        if not options.keep:
            shutil.rmtree(options.out, ignore_errors=True)
    print(json.dumps({**describe(options), "write": written, **reduced}, indent=2))


def split(arguments: list[str]) -> tuple[list[str], list[str]]:
    """What comes before and after `--`."""
    at = arguments.index("--") if "--" in arguments else len(arguments)
    return arguments[:at], arguments[at + 1 :]


def describe(options: argparse.Namespace) -> dict[str, Any]:
    """The record and the machine."""
    cpu = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    models = [line.split(":", 1)[1].strip() for line in cpu if line.startswith("model name")]
    threads = {name: os.environ[name] for name in os.environ if name.endswith("_NUM_THREADS")}
    return {
        "machine": {
            "processor": models[0] if models else platform.machine(),
            "cores": len(os.sched_getaffinity(0)),
            **threads,
            "python": platform.python_version(),
            **{name: version(name) for name in ("numpy", "scipy", "zarr")},
        },
        "shape": {"layers": options.layers, "neurons": options.neurons},
        "values": len(VALUES),
        "clusters": options.clusters,
        "parts": options.clusters * len(LANGUAGES) * len(STANCES),
        "shuffles": options.shuffles,
    }


def measure_reduce(options: argparse.Namespace, passed_on: list[str]) -> dict[str, Any]:
    """Cost of the command, of its start alone, by layer, and of 80 layers."""
    command = ["-m", "vxdist", "reduce"]
    print("reduce ...", file=sys.stderr, flush=True)
    start = measure([*command, "--help"])
    shuffles = ["--reduce.shuffles", str(options.shuffles)]
    reduced = measure([*command, "--store", str(options.out), *shuffles, *passed_on])
    steps = ("cpu_seconds", "seconds")
    by_layer = {name: (reduced[name] - start[name]) / options.layers for name in steps}
    whole = {name: round(start[name] + LAYERS_70B * by_layer[name], 1) for name in steps}
    measured = options.layers == LAYERS_70B
    return {
        "passed_on": passed_on,
        "start": start,
        "reduce": reduced,
        "by_layer": {name: round(seconds, 3) for name, seconds in by_layer.items()},
        f"{LAYERS_70B}_layers": {
            **whole,
            "cpu_minutes": round(whole["cpu_seconds"] / 60, 1),
            "how": "measured" if measured else f"extrapolated from --layers {options.layers}",
        },
    }


def measure(arguments: list[str]) -> dict[str, float]:
    """Run Python with these arguments, to its end: time, and peak memory of the process."""
    began = time.perf_counter()
    process = subprocess.Popen([sys.executable, *arguments], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"error: {' '.join(arguments)} ended with {process.returncode}")
    return {
        "cpu_seconds": round(usage.ru_utime + usage.ru_stime, 2),
        "seconds": round(time.perf_counter() - began, 2),
        "peak_gigabytes": round(usage.ru_maxrss * 1024 / 1e9, 3),
    }


def write(options: argparse.Namespace) -> None:
    """Write a complete store."""
    import numpy as np

    from vxstore.finalise import finalise
    from vxstore.write import PartCounts, PartLabels, Recorder, create

    labels = [
        PartLabels(
            value=value,
            language=language,
            stance=stance,
            cluster=cluster,
            setting=f"setting {(cluster + v) % SETTINGS}",
        )
        for v, value in enumerate(VALUES)
        for cluster in range(options.clusters // len(VALUES))
        for language in LANGUAGES
        for stance in STANCES
    ]
    rng = np.random.default_rng(0)
    tokens_P = rng.integers(*TOKENS, len(labels))
    create(
        str(options.out),
        num_layers=options.layers,
        num_neurons=options.neurons,
        values=VALUES,
        languages=LANGUAGES,
        parts=labels,
        attrs={
            "model": "synthetic",
            "model_fingerprint": "0" * 8,
            "dtype": "float32",
            "statistics": ["active_count"],
            "planned_token_count": int(tokens_P.sum()),
        },
    )
    model, recorder = Rates(options.layers, options.neurons), Recorder(str(options.out))
    for part, (label, tokens) in enumerate(zip(labels, tokens_P.tolist(), strict=True)):
        dilemma = part // (len(LANGUAGES) * len(STANCES))
        active_LN = model.draw(VALUES.index(label.value), dilemma, part, tokens)
        counts = {"active_count": active_LN}
        recorder.write_part(part, PartCounts(statistics=counts, token_count=tokens, story_count=1))
    finalise(str(options.out))


class Rates:
    """How active neurons are. L: layer, N: neuron, V: value, R: row of noise."""

    def __init__(self, layers: int, neurons: int) -> None:
        import numpy as np

        rng = np.random.default_rng(1)
        self._logit_LN = rng.normal(-0.5, 1.6, (layers, neurons)).astype(np.float32)
        self._dead_LN = rng.random((layers, neurons)) < 0.1
        # Which value a neuron prefers; most prefer one that there is not.
        self._value_LN = rng.integers(0, 50 * len(VALUES), (layers, neurons))
        # Rows that are rolled by another distance for each dilemma and part: new noise is dear.
        self._noise_RLN = rng.normal(size=(8, layers, neurons)).astype(np.float32)

    def draw(self, value: int, dilemma: int, part: int, tokens: int) -> Any:
        """Active counts (layer, neuron), int32, of a part; parts of one dilemma are alike."""
        import numpy as np

        neurons = self._logit_LN.shape[1]
        rng = np.random.default_rng([2, part])
        own_LN = self._roll(*rng.integers(0, (4, neurons)))
        dilemma_rng = np.random.default_rng([3, dilemma])
        shared_LN = self._roll(4 + dilemma_rng.integers(0, 4), dilemma_rng.integers(0, neurons))
        logit_LN = self._logit_LN + 0.35 * shared_LN + 0.8 * (self._value_LN == value)
        rate_LN = 1 / (1 + np.exp(-logit_LN))
        spread_LN = np.sqrt(1.5 * rate_LN * (1 - rate_LN) * tokens)  # half more than binomial
        active_LN = np.clip(np.rint(rate_LN * tokens + spread_LN * own_LN), 0, tokens)
        return np.where(self._dead_LN, 0, active_LN).astype(np.int32)

    def _roll(self, row: int, distance: int) -> Any:
        import numpy as np

        return np.roll(self._noise_RLN[row], distance, axis=-1)


if __name__ == "__main__":
    os.environ.setdefault("COLUMNS", "80")
    main()

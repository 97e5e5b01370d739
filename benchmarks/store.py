"""A store with the shape of Llama-3.1-70B and synthetic parts: time and peak memory of each step.

Each step runs in a process of its own, so that its peak memory can be measured. Prints JSON. By
default 768 parts of 80 layers x 28,672 neurons: about 18 GB on disk and ten minutes.

    python benchmarks/store.py --out runs/benchmark.zarr
"""

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

VALUES = (
    "prosperity", "democracy", "civility", "harmony", "freedom", "equality",
    "justice", "rule_of_law", "patriotism", "dedication", "integrity", "friendliness",
)  # fmt: skip
LANGUAGES = ("zh", "en")
STEPS = ("write", "finalise", "reduce", "check", "top", "neuron")
TOKENS = 20_000


def main() -> None:
    """Run every step, or the requested one, and print its cost."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument(
        "--out", type=Path, required=True, help="store to create; removed at the end"
    )
    parser.add_argument("--layers", type=int, default=80)
    parser.add_argument("--neurons", type=int, default=28_672)
    parser.add_argument("--parts-per-group", type=int, default=32)
    parser.add_argument("--keep", action="store_true", help="keep the store")
    parser.add_argument("--step", choices=STEPS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.step:
        print(json.dumps(_measure(options)))
        return
    if options.out.exists():
        sys.exit(f"error: {options.out} already exists; remove it, or choose another --out")
    result: dict[str, Any] = {
        "shape": {"layers": options.layers, "neurons": options.neurons},
        "parts": len(VALUES) * len(LANGUAGES) * options.parts_per_group,
    }
    for step in STEPS:
        print(f"{step} ...", file=sys.stderr, flush=True)
        result[step] = json.loads(
            subprocess.run(
                [sys.executable, __file__, *sys.argv[1:], "--step", step],
                check=True, stdout=subprocess.PIPE, text=True,
            ).stdout.splitlines()[-1]
        )  # fmt: skip
    files = [file for file in options.out.rglob("*") if file.is_file()]
    result["store"] = {"objects": len(files), "bytes": sum(file.stat().st_size for file in files)}
    if not options.keep:
        shutil.rmtree(options.out)
    print(json.dumps(result, indent=2))


def _measure(options: argparse.Namespace) -> dict[str, float]:
    """Time and peak memory of one step; for queries, including the start of their process."""
    began = time.perf_counter()
    path = str(options.out)
    if options.step == "write":
        _write(path, options)
    elif options.step == "finalise":
        from vxstore.finalise import finalise

        finalise(path)
    elif options.step == "reduce":
        from vxdist.reduce.score import write_score
        from vxdist.reduce.selectors.vape import Vape, VapeSettings

        settings = VapeSettings(
            filter_quantile=0.95,
            top_fraction=0.01,
            activation_quantile=0.95,
            min_active_tokens=1,
        )
        write_score(path, "vape", Vape(settings))
    elif options.step == "check":
        from vxstore.check.store import check

        assert not check(path).findings
    else:
        neuron = [str(options.layers // 2), str(options.neurons // 2)]
        query = ["--value", "patriotism"] if options.step == "top" else neuron
        subprocess.run(
            [sys.executable, "-m", "vxstore", options.step, path, *query],
            check=True,
            stdout=subprocess.DEVNULL,
        )
    usage = resource.RUSAGE_CHILDREN if options.step in ("top", "neuron") else resource.RUSAGE_SELF
    return {
        "seconds": round(time.perf_counter() - began, 2),
        "peak_gigabytes": round(resource.getrusage(usage).ru_maxrss * 1024 / 1e9, 3),
    }


def _write(path: str, options: argparse.Namespace) -> None:
    import numpy as np

    from vxstore.write import PartCounts, PartLabels, Recorder, create

    parts = [
        PartLabels(value=value, language=language, stance="aligned")
        for value in VALUES
        for language in LANGUAGES
        for _ in range(options.parts_per_group)
    ]
    attrs = {"model": "synthetic", "model_fingerprint": "0" * 8, "dtype": "float32"}
    create(
        path,
        num_layers=options.layers,
        num_neurons=options.neurons,
        values=VALUES,
        languages=LANGUAGES,
        parts=parts,
        attrs={**attrs, "planned_token_count": TOKENS * len(parts)},
    )
    rng = np.random.default_rng(0)
    shape = (options.layers, options.neurons)
    share_LN = rng.beta(0.6, 2.0, shape).astype(np.float32)
    mean_LN = rng.normal(0, 1, shape).astype(np.float32)
    recorder = Recorder(path)
    for n, part in enumerate(parts):
        lean = 1 + 0.2 * np.sin(VALUES.index(part.value) + np.roll(mean_LN, n % 7, axis=1))
        active_LN = np.minimum(TOKENS * share_LN * lean, TOKENS).astype(np.int32)
        recorder.write_part(
            n,
            PartCounts(
                statistics={
                    "active_count": active_LN,
                    "activation_sum": mean_LN * active_LN,
                    "activation_square_sum": np.square(mean_LN) * active_LN,
                },
                token_count=TOKENS,
                story_count=8,
            ),
        )


if __name__ == "__main__":
    os.environ.setdefault("COLUMNS", "80")
    main()

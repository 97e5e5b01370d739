"""ZeRO-3 through DeepSpeed: vxdist's own loop on a model on disk, compared with strategy single.

L: layer, N: neuron.
"""

import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import zarr

from on_gpu.measure import forget_peak, free_memory, peak_gigabytes, wait
from on_gpu.models import build, configure, make_store, make_texts
from vxdist.config import (
    Config,
    ModelConfig,
    TrainerConfig,
)
from vxdist.errors import UserError
from vxdist.locate.work import LocateWork
from vxdist.model.source import find_model
from vxdist.output import Output
from vxdist.plan import Plan
from vxdist.runtime.loop import run_loop
from vxdist.runtime.work import Batch

STRATEGIES = ("single", "zero3")


class Timed(LocateWork):
    """Locate, noting when its second batch started; the first warms up."""

    began = 0.0
    ran = 0
    tokens = 0

    def step(self, model: Any, batch: Batch) -> None:
        """One batch."""
        self.ran += 1
        if self.ran == 2:
            wait(batch.token_ids_BT.device)
            self.began = time.perf_counter()
        if self.ran > 1:
            self.tokens += int(batch.attention_mask_BT.sum())
        super().step(model, batch)


def compare_strategies(
    device: torch.device, *, tiny: bool, tokens_per_batch: int, batches: int
) -> dict[str, Any]:
    """Tokens per second under both strategies, and the difference between their counts."""
    shape = configure("1b", tiny)
    plan = make_texts(shape.vocab_size, tokens_per_batch, batches)
    result: dict[str, Any] = {"parameters": 0}
    with tempfile.TemporaryDirectory() as folder:
        model = build(shape, device, head=True)
        result["parameters"] = sum(parameter.numel() for parameter in model.parameters())
        model.save_pretrained(Path(folder) / "model")
        del model
        active: dict[str, Any] = {}
        for strategy in STRATEGIES:
            free_memory(device)
            store = str(Path(folder) / f"{strategy}.zarr")
            make_store(store, plan, shape)
            try:
                result[strategy] = _run(_settings(folder, store, device, strategy), plan, device)
            except UserError as error:
                result[strategy] = {"skipped": str(error)}
                continue
            active[strategy] = zarr.open_array(f"{store}/record/active_count", mode="r")[:]
    if len(active) == len(STRATEGIES):
        single, sharded = (np.asarray(active[s], dtype=np.int64) for s in STRATEGIES)
        apart = np.abs(single - sharded).sum() / single.sum()
        result["active_counts_apart"] = float(f"{apart:.2e}")
        rates = [result[s]["tokens_per_second"] for s in STRATEGIES]
        result["zero3_over_single"] = round(rates[1] / rates[0], 4)
    return result


def _run(config: Config, plan: Plan, device: torch.device) -> dict[str, Any]:
    work = Timed(plan, config.store)
    forget_peak(device)
    ended: list[float] = []
    began = time.perf_counter()
    run_loop(
        work,
        find_model(config.model),
        config,
        Output(),
        then=lambda rank, world_size: ended.append(time.perf_counter()),
    )
    return {
        "tokens_per_second": round(work.tokens / (ended[0] - work.began), 1),
        "seconds_to_second_batch": round(work.began - began, 2),
        "peak_gigabytes": peak_gigabytes(device),
    }


def _settings(folder: str, store: str, device: torch.device, strategy: str) -> Config:
    return Config(
        model=ModelConfig(path=f"{folder}/model", dtype="bfloat16"),
        trainer=TrainerConfig(
            accelerator="gpu" if device.type == "cuda" else "cpu",
            strategy="single" if strategy == "single" else "zero3",
        ),
        store=store,
    )

"""Tokens per second of locate and of the bare decoder forward, on the same batches, in turn.

    python benchmarks/locate.py --config configs/demo.yaml --corpus.stories_per_group 1

`locate` is all of the real predict loop that is not the bare forward beside it: making batches,
Lightning, the model, counting, writing and sealing parts. Prints JSON.
"""

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

from vxdist.corpus import load_corpus
from vxdist.locate.stage import create_store, describe_run, plan_run
from vxdist.locate.work import LocateWork
from vxdist.model.load import describe_model
from vxdist.model.loop import Batch, run_loop
from vxdist.model.source import find_model
from vxdist.settings import parse


class BesideBare(LocateWork):
    """Locate, with a bare forward of every batch before it or, in turn, after it."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.began = 0.0
        self.bare_seconds: list[float] = []
        self.tokens: list[int] = []

    def step(self, model: PreTrainedModel, batch: Batch) -> None:
        """Time the bare forward; everything else is locate's."""
        if not self.began:
            self._bare(model, batch)  # warm up
            self.began = time.perf_counter()
        turn = len(self.tokens) % 2
        if turn == 0:
            super().step(model, batch)
        began = time.perf_counter()
        self._bare(model, batch)
        self.bare_seconds.append(time.perf_counter() - began)
        if turn == 1:
            super().step(model, batch)
        self.tokens.append(batch.token_ids_BT.numel())

    def _bare(self, model: PreTrainedModel, batch: Batch) -> None:
        assert self._counter is not None
        self._counter.count_rows(None)
        model.get_decoder()(
            input_ids=batch.token_ids_BT, attention_mask=batch.attention_mask_BT, use_cache=False
        )


def main() -> None:
    """Run and print."""
    with tempfile.TemporaryDirectory() as folder:
        store = str(Path(folder) / "bench.zarr")
        config = parse("locate", [*sys.argv[1:], "--store", store])
        corpus, source = load_corpus(config.corpus), find_model(config.model)
        shape = describe_model(source)
        plan = plan_run(config, corpus, source, shape)
        identity = describe_run(config, corpus, source, shape, plan)
        create_store(store, corpus, shape, plan, identity)
        work = BesideBare(plan, store)
        run_loop(work, source, config)
        total = time.perf_counter() - work.began
    tokens, bare = sum(work.tokens), sum(work.bare_seconds)
    result = {
        "model": config.model.path,
        "dtype": config.model.dtype,
        "threads": torch.get_num_threads(),
        "batches": len(work.tokens),
        "tokens": tokens,
        "bare_tokens_per_second": round(tokens / bare, 1),
        "locate_tokens_per_second": round(tokens / (total - bare), 1),
        "locate_over_bare": round(bare / (total - bare), 4),
    }
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()

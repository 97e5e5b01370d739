"""Tokens per second of locate, of the bare decoder, and of the usual recipe, in turn.

    python benchmarks/locate.py --config configs/demo.yaml --model.dtype bfloat16
    python benchmarks/locate.py --ranks 2 --config configs/demo.yaml --corpus.stories_per_group 2

`locate` is the whole predict loop without the other two: making batches, Lightning, the model,
counting, writing and sealing parts. `usual` is the usual way to count: stories in file order, a
fixed number per padded batch, through the causal language model with its head, with the five
reductions of LAPE's code in a hook (active, and the powers 1 to 4, in float32; arXiv 2402.16438).
Rates count the tokens of the texts, without padding. With --ranks it compares one process of one
thread with N such processes, under torchrun, instead. Prints JSON.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

from vxdist.config import Config
from vxdist.corpus import load_corpus
from vxdist.locate.stage import create_store, describe_run, plan_run
from vxdist.locate.work import LocateWork
from vxdist.model.hook_points import HookPoints
from vxdist.model.load import describe_model
from vxdist.model.source import find_model
from vxdist.output import Output
from vxdist.plan import Plan
from vxdist.runtime.launch import find_launch
from vxdist.runtime.loop import run_loop
from vxdist.runtime.work import Batch
from vxdist.settings import parse
from vxstore.identity import holds_store

USUAL_STORIES = 8
"""Stories per batch of the usual recipe: at most as many tokens as in a batch of the demo."""


class Usual:
    """The usual recipe, on the same stories. T: token, N: neuron."""

    def __init__(self, plan: Plan, hook_points: HookPoints, device: torch.device) -> None:
        self._plan = plan
        self._sums_LKN = torch.zeros(
            hook_points.num_layers, 5, hook_points.num_neurons, device=device
        )
        self._on = False
        order = list(range(len(plan.stories)))
        self._batches = [order[n : n + USUAL_STORIES] for n in range(0, len(order), USUAL_STORIES)]
        for block in hook_points.blocks:
            block.activation.register_forward_hook(self._hook(block.layer))
        self.seconds = 0.0
        self.tokens = 0

    def _hook(self, layer: int) -> Any:
        def hook(_: Any, __: Any, activation: torch.Tensor) -> None:
            if not self._on:
                return
            activation_TN = activation.float().reshape(-1, activation.shape[-1])
            # Of experts the recipe knows nothing: it would add up the same unit of all.
            sums_KN = self._sums_LKN[layer, :, : activation_TN.shape[1]]
            sums_KN[0] += (activation_TN > 0).sum(0)
            for power in range(1, 5):
                sums_KN[power] += activation_TN.pow(power).sum(0)

        return hook

    def run(self, model: PreTrainedModel, part: slice) -> None:
        """Run and time some of the batches."""
        for positions in self._batches[part]:
            texts = [self._plan.stories[p].token_ids_T for p in positions]
            width = max(map(len, texts))
            token_ids_BT = torch.zeros(len(texts), width, dtype=torch.int64)
            mask_BT = torch.zeros_like(token_ids_BT)
            for row, ids_T in enumerate(texts):
                token_ids_BT[row, : len(ids_T)] = torch.as_tensor(ids_T)
                mask_BT[row, : len(ids_T)] = 1
            began = time.perf_counter()
            self._on = True
            model(input_ids=token_ids_BT, attention_mask=mask_BT, use_cache=False)
            self._on = False
            self.seconds += time.perf_counter() - began
            self.tokens += sum(map(len, texts))

    def __len__(self) -> int:
        return len(self._batches)


class Compared(LocateWork):
    """Locate, with a bare forward of every batch before or after it, in turn, and a proportional
    number of the usual recipe's batches."""

    def __init__(self, plan: Plan, path: str) -> None:
        super().__init__(plan, path)
        self._compared_plan = plan
        self._num_batches = sum(len(part.batches) for part in plan.parts)
        self._usual: Usual | None = None
        self.began = 0.0
        self.bare_seconds = 0.0
        self.ran = 0
        self.tokens = 0

    def attach(self, hook_points: HookPoints, device: torch.device) -> None:
        """Locate's hooks, and the usual recipe's."""
        super().attach(hook_points, device)
        self._usual = Usual(self._compared_plan, hook_points, device)

    @property
    def usual(self) -> Usual:
        """The usual recipe."""
        assert self._usual is not None
        return self._usual

    def step(self, model: PreTrainedModel, batch: Batch) -> None:
        """Time the other two; the remaining time is locate's."""
        if not self.began:
            self._bare(model, batch)  # warm up
            self.bare_seconds = 0.0
            self.began = time.perf_counter()
        turn = self.ran % 2
        if turn == 0:
            super().step(model, batch)
        self._bare(model, batch)
        if turn == 1:
            super().step(model, batch)
        assert self._counter is not None
        self._counter.count(None)
        done = [n * len(self.usual) // self._num_batches for n in (self.ran, self.ran + 1)]
        self.usual.run(model, slice(*done))
        self.ran += 1
        self.tokens += int(batch.attention_mask_BT.sum())

    def _bare(self, model: PreTrainedModel, batch: Batch) -> None:
        """The decoder with its own forward functions; returns nothing, and notes the time."""
        assert self._counter is not None
        self._counter.remove()
        own = {id(of): vars(of) for of in model.modules() if "forward" in vars(of)}
        ours = {place: of.pop("forward") for place, of in own.items()}
        began = time.perf_counter()
        model.get_decoder()(
            input_ids=batch.token_ids_BT, attention_mask=batch.attention_mask_BT, use_cache=False
        )
        self.bare_seconds += time.perf_counter() - began
        for place, of in own.items():
            of["forward"] = ours[place]
        self._counter.attach()


class Timed(LocateWork):
    """Locate, noting when its first batch started."""

    began = 0.0

    def step(self, model: PreTrainedModel, batch: Batch) -> None:
        """One batch."""
        self.began = self.began or time.time()
        super().step(model, batch)


def prepare(arguments: list[str], store: str) -> tuple[Config, Plan]:
    """The configuration and its plan; rank 0 creates the store."""
    config = parse("locate", [*arguments, "--store", store])
    corpus, source = load_corpus(config.corpus), find_model(config.model)
    shape = describe_model(source)
    plan = plan_run(config, corpus, source, shape)
    if find_launch(config.trainer).rank == 0 and not holds_store(store):
        identity = describe_run(config, corpus, source, shape, plan)
        create_store(store, corpus, shape, plan, identity)
    return config, plan


def about(config: Config) -> dict[str, Any]:
    """What is measured."""
    return {
        "model": config.model.path,
        "dtype": config.model.dtype,
        "torch": torch.__version__,
        "cpu": torch.backends.cpu.get_cpu_capability(),
    }


def compare(arguments: list[str], store: str) -> dict[str, Any]:
    """Bare forward, locate and the usual recipe, interleaved."""
    config, plan = prepare(arguments, store)
    work = Compared(plan, store)
    run_loop(work, find_model(config.model), config, Output())
    locate = time.perf_counter() - work.began - work.bare_seconds - work.usual.seconds
    rates = {
        "bare": work.tokens / work.bare_seconds,
        "locate": work.tokens / locate,
        "usual": work.usual.tokens / work.usual.seconds,
    }
    return {
        **about(config),
        "threads": torch.get_num_threads(),
        "batches": work.ran,
        "tokens": work.tokens,
        **{f"{name}_tokens_per_second": round(rate, 1) for name, rate in rates.items()},
        "locate_over_bare": round(rates["locate"] / rates["bare"], 4),
        "locate_over_usual": round(rates["locate"] / rates["usual"], 4),
    }


def be_rank(arguments: list[str], store: str) -> None:
    """One rank of a timed run: record when it started and ended."""
    config, plan = prepare(arguments, store)
    work = Timed(plan, store)
    ended: list[float] = []
    run_loop(
        work,
        find_model(config.model),
        config,
        Output(),
        then=lambda rank, world_size: ended.append(time.time()),
    )
    rank = os.environ.get("RANK", "0")
    Path(f"{store}.{rank}.json").write_text(json.dumps([work.began, ended[0]]))


def scale(arguments: list[str], ranks: int, folder: str) -> dict[str, Any]:
    """Time one process of one thread, N, N again, and one again."""
    seconds: dict[int, list[float]] = {1: [], ranks: []}
    for turn, processes in enumerate((1, ranks, ranks, 1)):
        store = str(Path(folder) / f"{turn}.zarr")
        run = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(processes)]
        run += [__file__, "--as-rank", store, *arguments, "--trainer.threads", "1"]
        subprocess.run(run, check=True, stdout=sys.stderr)
        times = [json.loads(f.read_text()) for f in Path(folder).glob(f"{turn}.zarr.*.json")]
        seconds[processes].append(max(end for _, end in times) - min(start for start, _ in times))
    config, plan = prepare([*arguments, "--trainer.threads", "1"], str(Path(folder) / "0.zarr"))
    best = {processes: min(took) for processes, took in seconds.items()}
    return {
        **about(config),
        "threads_each": 1,
        "tokens": sum(len(story.token_ids_T) for story in plan.stories),
        "seconds": {str(processes): took for processes, took in seconds.items()},
        "speed_up": round(best[1] / best[ranks], 3),
        "ranks": ranks,
    }


def main() -> None:
    """Run and print."""
    arguments = sys.argv[1:]
    if arguments[:1] == ["--as-rank"]:
        be_rank(arguments[2:], arguments[1])
        return
    with tempfile.TemporaryDirectory() as folder:
        if arguments[:1] == ["--ranks"]:
            result = scale(arguments[2:], int(arguments[1]), folder)
        else:
            result = compare(arguments, str(Path(folder) / "bench.zarr"))
    print(json.dumps({"command": " ".join(sys.argv), **result}, indent=2))


if __name__ == "__main__":
    main()

"""Bare forward, locate and the usual recipe, in turn, on a model that is on the device.

B: text, T: token, N: neuron, L: layer.
"""

import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader

from on_gpu.measure import forget_peak, free_memory, peak_gigabytes, profiled, seconds_of
from on_gpu.models import make_store, multiplied
from vxdist.locate.work import LocateWork
from vxdist.model.hook_points import find_hook_points
from vxdist.plan import Plan
from vxdist.runtime.work import Batch, Schedule


class Removable(LocateWork):
    """Locate, with hooks that can be removed."""

    def remove(self) -> None:
        """Remove the hooks."""
        assert self._counter is not None
        self._counter.remove()


class Ways:
    """The three ways to run the plan's texts through one model."""

    def __init__(self, model: Any, plan: Plan, device: torch.device, folder: Path) -> None:
        self.model, self.plan, self.device, self._folder = model, plan, device, folder
        self._stores = 0
        schedule = Schedule(LocateWork(plan, ""), range(len(plan.parts)), 0, 0)
        self._ready = [schedule[n].to(device) for n in range(len(schedule))]
        # In file order, without a plan, the padding is not known: only as many texts as surely fit.
        lengths = [len(story.token_ids_T) for story in plan.stories]
        budget = max(batch.token_ids_BT.numel() for batch in self._ready)
        size = max(1, budget // max(lengths))
        self._file_order = [
            list(range(n, min(n + size, len(lengths)))) for n in range(0, len(lengths), size)
        ]
        self.ran = {
            "bare": sum(batch.token_ids_BT.numel() for batch in self._ready),
            "usual": sum(len(b) * max(lengths[p] for p in b) for b in self._file_order),
        }
        self.ran["locate"] = self.ran["bare"]
        self.tokens = sum(lengths)

    def bare(self) -> None:
        """Only the decoder, on batches that are already on the device."""
        decoder = self.model.get_decoder()
        for batch in self._ready:
            decoder(
                input_ids=batch.token_ids_BT,
                attention_mask=batch.attention_mask_BT,
                use_cache=False,
            )

    def prepare(self) -> Removable:
        """Locate's work with a store of its own and its hooks registered."""
        self._stores += 1
        store = str(self._folder / f"{self._stores}.zarr")
        make_store(store, self.plan, self.model.config)
        work = Removable(self.plan, store)
        work.pending()
        work.attach(find_hook_points(self.model.get_decoder()), self.device)
        return work

    def locate(self, work: Removable) -> None:
        """The steps of vxdist's predict loop: make batches, run, count, and write in a thread."""
        schedule = Schedule(work, range(len(self.plan.parts)), 0, 0)
        loader: Sequence[Batch] | Any = DataLoader(schedule, batch_size=None)
        with ThreadPoolExecutor(max_workers=1) as writer:
            written = []
            for prepared in loader:
                batch = prepared.to(self.device)
                work.step(self.model, batch)
                if batch.ends_task:
                    written.append(writer.submit(work.finish(batch.task)))
            for future in written:
                future.result()

    def usual(self, sums: "LapeSums") -> None:
        """Padded batches in file order, made one by one, through the model with its head."""
        for positions in self._file_order:
            texts = [torch.as_tensor(self.plan.stories[p].token_ids_T) for p in positions]
            ids_BT = pad_sequence(texts, batch_first=True).to(self.device).long()
            lengths_B = torch.tensor([len(t) for t in texts], device=self.device)
            mask_BT = torch.arange(ids_BT.shape[1], device=self.device) < lengths_B[:, None]
            self.model(input_ids=ids_BT, attention_mask=mask_BT.long(), use_cache=False)
        sums.read()


class LapeSums:
    """The five reductions of LAPE's code (arXiv 2402.16438): sums of powers 1 to 4, and active.

    They run over all tokens, padding included, in float32, each in a separate pass.
    """

    def __init__(self, model: Any, device: torch.device) -> None:
        hook_points = find_hook_points(model.get_decoder())
        shape = (hook_points.num_layers, hook_points.num_neurons)
        self._sums = [torch.zeros(shape, device=device) for _ in range(4)]
        self._active_LN = torch.zeros(shape, dtype=torch.int32, device=device)
        self._handles = [
            block.activation.register_forward_hook(self._hook(block.layer))
            for block in hook_points.blocks
        ]

    def _hook(self, layer: int) -> Callable[..., None]:
        def hook(_: Any, __: Any, activation_BTN: torch.Tensor) -> None:
            value_BTN = activation_BTN.float()
            self._sums[0][layer] += value_BTN.sum(dim=(0, 1))
            for power in (2, 3, 4):
                self._sums[power - 1][layer] += value_BTN.pow(power).sum(dim=(0, 1))
            self._active_LN[layer] += (value_BTN > 0).sum(dim=(0, 1))

        return hook

    def read(self) -> list[torch.Tensor]:
        """The sums, on the CPU."""
        return [total.cpu() for total in (*self._sums, self._active_LN)]

    def remove(self) -> None:
        """Remove the hooks."""
        for handle in self._handles:
            handle.remove()


def _one(ways: Ways, name: str) -> float:
    """Seconds of one way, without its preparation."""
    if name == "bare":
        return seconds_of(ways.bare, ways.device)
    if name == "locate":
        work = ways.prepare()
        try:
            return seconds_of(lambda: ways.locate(work), ways.device)
        finally:
            work.remove()
    sums = LapeSums(ways.model, ways.device)
    try:
        return seconds_of(lambda: ways.usual(sums), ways.device)
    finally:
        sums.remove()


@torch.inference_mode()
def compare(
    model: Any,
    plan: Plan,
    device: torch.device,
    *,
    names: Sequence[str],
    rounds: int,
    seconds: float,
    rate: float,
    profile: bool,
) -> dict[str, Any]:
    """Run every way once per round, after one round to warm up, until rounds or seconds are over.

    `rate` is the speed of the device's matrix products, in operations per second. A way for which
    memory does not suffice is skipped, and reported as such.
    """
    began = time.perf_counter()
    batches = sum(len(part.batches) for part in plan.parts)
    result: dict[str, Any] = {"batches": batches, "padding": round(plan.padding, 4)}
    with tempfile.TemporaryDirectory() as folder:
        ways = Ways(model, plan, device, Path(folder))
        result |= {"tokens": ways.tokens, **_warm_up(ways, names)}
        took: dict[str, list[float]] = {n: [] for n in names if "skipped" not in result[n]}
        for turn in range(rounds):
            order = list(took)
            for name in order[turn % len(order) :] + order[: turn % len(order)]:
                took[name].append(_one(ways, name))
            if time.perf_counter() - began > seconds:
                break
        for name, times in took.items():
            result[name] |= _rates(ways, name, times, rate)
        if profile:
            work = ways.prepare()
            result["profile_of_locate"] = profiled(lambda: ways.locate(work), device)
            work.remove()
    for other in ("bare", "usual"):
        if other in took:
            ratios = [a / b for a, b in zip(took[other], took["locate"], strict=True)]
            result[f"locate_over_{other}"] = round(statistics.median(ratios), 4)
    return result


def _warm_up(ways: Ways, names: Sequence[str]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for name in names:
        free_memory(ways.device)
        forget_peak(ways.device)
        try:
            _one(ways, name)
            result[name] = {"peak_gigabytes": peak_gigabytes(ways.device)}
        except torch.OutOfMemoryError:
            if name == "locate":
                raise
            result[name] = {"skipped": "not enough memory on the device"}
    free_memory(ways.device)
    return result


def _rates(ways: Ways, name: str, times: Sequence[float], rate: float) -> dict[str, Any]:
    model = ways.model if name == "usual" else ways.model.get_decoder()
    median = statistics.median(times)
    operations = 2 * multiplied(model) * ways.ran[name]
    return {
        "tokens_per_second": round(ways.tokens / median, 1),
        "share_of_matrix_rate": round(operations / median / rate, 4),
        "seconds": [round(time, 4) for time in times],
    }

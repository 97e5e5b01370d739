"""The Lightning predict loop that recording and evaluating share.

Work is cut into units (a part, a condition), each a fixed list of batches. A rank runs a unit
from beginning to end, then finishes it; what a unit holds never depends on the world size.
"""

import signal
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import FrameType
from typing import Any, Protocol

import lightning.pytorch as pl
import torch
from torch.utils.data import DataLoader, Dataset
from transformers import PreTrainedModel

from vxdist.config import Config
from vxdist.errors import Stopped
from vxdist.model.load import load_model, ready_sites
from vxdist.model.sites import Sites
from vxdist.model.source import ModelSource
from vxdist.model.strategy import find_launch, make_trainer, resolve_strategy
from vxdist.plan import share
from vxdist.progress import WorkProgress


@dataclass(kw_only=True)
class Batch:
    """Texts to run together, padded on the right. B: text, T: token."""

    unit: int
    positions: tuple[int, ...]
    token_ids_BT: torch.Tensor
    attention_mask_BT: torch.Tensor
    counted_BT: torch.Tensor | None
    ends_unit: bool
    filler: bool

    def to(self, device: torch.device, **_: Any) -> "Batch":
        """The batch, its tensors on `device`; Lightning calls this."""
        self.token_ids_BT = self.token_ids_BT.to(device)
        self.attention_mask_BT = self.attention_mask_BT.to(device)
        if self.counted_BT is not None:
            self.counted_BT = self.counted_BT.to(device)
        return self


class Work(Protocol):
    """What a stage does in the loop."""

    title: str

    def pending(self) -> Mapping[int, int]:
        """Units still to do, with their tokens; the same on every rank that asks."""

    def batches(self, unit: int) -> Sequence[tuple[int, ...]]:
        """Positions of the texts in each batch of a unit, in order."""

    def text(self, position: int) -> tuple[Any, Any]:
        """Token ids and, or None, which of them count."""

    def attach(self, sites: Sites, device: torch.device) -> None:
        """Put hooks on; called once, when the model is ready."""

    def step(self, model: PreTrainedModel, batch: Batch) -> None:
        """Run one batch. A filler batch must run alike and leave no trace."""

    def finish(self, unit: int) -> None:
        """Write a unit whose batches have all run."""


class _Schedule(Dataset[Batch]):
    """The batches of one rank, in order; made into tensors when asked for."""

    def __init__(self, work: Work, units: Sequence[int], length: int, filler_unit: int) -> None:
        self._work = work
        self._batches = [
            (unit, positions, n == len(batches) - 1, False)
            for unit in units
            for batches in (work.batches(unit),)
            for n, positions in enumerate(batches)
        ]
        # Under ZeRO-3 all ranks step together, so those that run out step on for nothing.
        filler = (filler_unit, work.batches(filler_unit)[0], False, True)
        self._batches += [filler] * (length - len(self._batches))

    def __len__(self) -> int:
        return len(self._batches)

    def __getitem__(self, index: int) -> Batch:
        unit, positions, ends_unit, filler = self._batches[index]
        texts = [self._work.text(position) for position in positions]
        width = max(len(ids) for ids, _ in texts)
        token_ids_BT = torch.zeros(len(texts), width, dtype=torch.int64)
        attention_mask_BT = torch.zeros(len(texts), width, dtype=torch.int64)
        counted_BT = torch.zeros(len(texts), width, dtype=torch.bool)
        for row, (ids_T, counted_T) in enumerate(texts):
            token_ids_BT[row, : len(ids_T)] = torch.as_tensor(ids_T)
            attention_mask_BT[row, : len(ids_T)] = 1
            if counted_T is not None:
                counted_BT[row, : len(ids_T)] = torch.as_tensor(counted_T)
        return Batch(
            unit=unit,
            positions=positions,
            token_ids_BT=token_ids_BT,
            attention_mask_BT=attention_mask_BT,
            counted_BT=counted_BT,
            ends_unit=ends_unit,
            filler=filler,
        )


class _Predictor(pl.LightningModule):
    """Runs one stage's work on every rank."""

    def __init__(self, work: Work, source: ModelSource, config: Config, strategy: str) -> None:
        super().__init__()
        self._work, self._source, self._settings = work, source, config
        self._strategy = strategy
        self._stop_signal: int | None = None
        self._running = False
        self._sharding: Any = None
        self._pending: Mapping[int, int] = {}
        self._shares: Sequence[Sequence[int]] = ()
        self._progress: WorkProgress | None = None

    def setup(self, stage: str) -> None:
        """Agree on what is left, before anyone begins."""
        self.trainer.strategy.barrier()
        self._pending = self._work.pending()
        self._shares = share(self._pending, self.trainer.world_size)
        self.trainer.strategy.barrier()

    def configure_model(self) -> None:
        """Load the model; under ZeRO-3 each rank keeps its shard only."""
        if self._strategy == "zero3":
            from vxdist.model.zero3 import shard_while_loading

            self._sharding = shard_while_loading(self._settings.model.dtype)
        self.causal_model = load_model(self._source, self._settings.model)

    def predict_dataloader(self) -> DataLoader[Batch]:
        """This rank's batches."""
        lengths = [sum(len(self._work.batches(u)) for u in units) for units in self._shares]
        mine = self.trainer.global_rank
        # Lightning refuses an empty loader, so a rank without work runs one filler batch.
        length = max(lengths) if self._strategy == "zero3" else max(1, lengths[mine])
        schedule = _Schedule(self._work, self._shares[mine], length, min(self._pending))
        return DataLoader(schedule, batch_size=None, shuffle=False)

    def on_predict_start(self) -> None:
        """Hooks go on now: DeepSpeed deletes earlier ones. So do signals: Lightning took them."""
        self.watch_signals()
        self._running = True
        self._work.attach(ready_sites(self.causal_model), self.device)
        units = self._shares[self.trainer.global_rank]
        self._progress = WorkProgress(
            self._work.title,
            sum(self._pending[unit] for unit in units),
            "tokens",
            shown=self.trainer.is_global_zero,
            seconds=self._settings.trainer.progress_seconds,
        )
        self._progress.start()

    def watch_signals(self) -> dict[int, Any]:
        """Take SIGTERM and SIGINT; the handlers that were there."""
        return {n: signal.signal(n, self._on_signal) for n in (signal.SIGTERM, signal.SIGINT)}

    def _on_signal(self, number: int, _: FrameType | None) -> None:
        # Lightning's own handler talks to other ranks from inside the handler; ours only notes,
        # for the next batch to see. While the model loads there is nothing to leave in order.
        self._stop_signal = number
        if not self._running:
            self._stop()

    def _stop(self) -> None:
        assert self._stop_signal is not None
        name = signal.Signals(self._stop_signal).name
        raise Stopped(f"stopped by {name}; the same command goes on from here")

    def predict_step(self, batch: Batch) -> None:
        """One batch; the last of a unit writes it."""
        if self._stop_signal is not None:
            self._stop()
        self._work.step(self.causal_model, batch)
        if batch.ends_unit:
            self._work.finish(batch.unit)
        if self._progress is not None and not batch.filler:
            self._progress.advance(batch.token_ids_BT.numel())

    def on_predict_end(self) -> None:
        """Batches are over; what is left is waiting for the others."""
        self._running = False
        self.stop_progress()

    def stop_progress(self) -> None:
        """Leave the terminal as it was."""
        if self._progress is not None:
            self._progress.stop()
            self._progress = None


def run_loop(
    work: Work,
    source: ModelSource,
    config: Config,
    *,
    then: Callable[[int, int], None] | None = None,
) -> None:
    """Run all pending units of `work` over the ranks of this launch.

    When all ranks are done, each calls `then` with its rank and the world size. Returns, on every
    rank, when all are through. Raises Stopped after SIGTERM or SIGINT.
    """
    launch = find_launch(config.trainer)
    if config.trainer.threads is not None:
        torch.set_num_threads(config.trainer.threads)
    kind = resolve_strategy(config.trainer, launch)
    trainer = make_trainer(config.trainer, launch, kind, config.model.dtype)
    predictor = _Predictor(work, source, config, kind)
    handlers = predictor.watch_signals()
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*does not have many workers.*")
            warnings.filterwarnings("ignore", "predict returned None.*")
            warnings.filterwarnings("ignore", ".*LeafSpec.* is deprecated.*")
            trainer.predict(predictor, return_predictions=False)
        trainer.strategy.barrier()
        if then is not None:
            then(trainer.global_rank, trainer.world_size)
            trainer.strategy.barrier()
    finally:
        predictor.stop_progress()
        for number, handler in handlers.items():
            signal.signal(number, handler)

"""The Lightning predict loop that recording and evaluating share.

Work is cut into units (a part, a condition), each a fixed list of batches. A rank runs a unit
from beginning to end, then finishes it; what a unit holds never depends on the world size.
"""

import signal
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from types import FrameType
from typing import Any

import lightning.pytorch as pl
import torch
from torch.utils.data import DataLoader

from vxdist.config import Config
from vxdist.errors import Stopped
from vxdist.hooks.selftest import ready_hook_points
from vxdist.model.load import load_model
from vxdist.model.source import ModelSource
from vxdist.output import Output
from vxdist.plan import share
from vxdist.progress import WorkProgress
from vxdist.runtime.launch import find_launch
from vxdist.runtime.peers import Peers
from vxdist.runtime.strategy import describe_idle, make_trainer, resolve_strategy
from vxdist.runtime.work import Batch, Schedule, Work


class _Predictor(pl.LightningModule):
    """Runs one stage's work on every rank."""

    def __init__(
        self,
        work: Work,
        source: ModelSource,
        config: Config,
        strategy: str,
        peers: Peers,
        output: Output,
    ) -> None:
        super().__init__()
        self._peers, self._output = peers, output
        self._noun = work.task_name
        self._batch = 0
        self._work, self._source, self._settings = work, source, config
        self._strategy = strategy
        self._stop_signal: int | None = None
        self._running = False
        self._pending: Mapping[int, int] = {}
        self._shares: Sequence[Sequence[int]] = ()
        self._progress: WorkProgress | None = None
        self._writer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="writer")
        self._written: Future[None] | None = None

    def setup(self, stage: str) -> None:
        """Agree on what is left, before anyone begins."""
        if self._settings.trainer.threads is not None:
            # Not earlier: Lightning sets its own number when it launches processes.
            torch.set_num_threads(self._settings.trainer.threads)
        self.trainer.strategy.barrier()
        self._pending = self._work.pending()
        self._shares = share(self._pending, self.trainer.world_size)
        if self.trainer.is_global_zero and (idle := describe_idle(self._shares, self._noun)):
            print(f"warning: {idle}", file=sys.stderr)
        self.trainer.strategy.barrier()

    def configure_model(self) -> None:
        """Load the model; under ZeRO-3 each rank keeps its shard only."""
        sharding: AbstractContextManager[None] = nullcontext()
        if self._strategy == "zero3":
            from vxdist.runtime.zero3 import shard_while_loading

            sharding = shard_while_loading(self.trainer.strategy, self._source)
        with sharding:
            self.causal_model = load_model(self._source, self._settings.model)

    def predict_dataloader(self) -> DataLoader[Batch]:
        """This rank's batches."""
        lengths = [sum(len(self._work.batches(u)) for u in tasks) for tasks in self._shares]
        mine = self.trainer.global_rank
        # Lightning refuses an empty loader, so a rank without work runs one filler batch.
        length = max(lengths) if self._strategy == "zero3" else max(1, lengths[mine])
        schedule = Schedule(self._work, self._shares[mine], length, min(self._pending))
        return DataLoader(schedule, batch_size=None, shuffle=False)

    def on_predict_start(self) -> None:
        """Hooks go on now: DeepSpeed deletes earlier ones. So do signals: Lightning took them."""
        self.watch_signals()
        self._running = True
        self._work.attach(ready_hook_points(self.causal_model), self.device)
        tasks = self._shares[self.trainer.global_rank]
        self._progress = WorkProgress(
            self._work.title,
            sum(self._pending[task] for task in tasks),
            "tokens",
            shown=self._output.shown and self.trainer.is_global_zero,
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
        self.wait_written()
        name = signal.Signals(self._stop_signal).name
        raise Stopped(f"stopped by {name}; the same command goes on from here")

    def predict_step(self, batch: Batch) -> None:
        """One batch; the last of a unit writes it."""
        if self._stop_signal is not None:
            self._stop()
        task, batches = f"{self._noun} {batch.task}", len(self._work.batches(batch.task))
        self._batch += 1
        storage = "a filler batch" if batch.filler else f"{task}, batch {self._batch} of {batches}"
        with self._peers.at(storage):
            self._work.step(self.causal_model, batch)
        if batch.ends_task:
            self._batch = 0
            with self._peers.at(f"{task}, after batch {batches} of {batches}"):
                write = self._work.finish(batch.task)
            self._write(self._peers.at(f"{task}, while it was written")(write))
        if self._progress is not None and not batch.filler:
            self._progress.advance(batch.token_ids_BT.numel())

    def _write(self, write: Callable[[], None]) -> None:
        """Write a unit beside the model; an error of the unit before it is raised here."""
        self.wait_written()
        self._written = self._writer.submit(write)

    def wait_written(self) -> None:
        """Wait until what is handed over is on disk. Raises what the writing raised."""
        written, self._written = self._written, None
        if written is not None:
            written.result()

    def on_predict_end(self) -> None:
        """Batches are over; what is left is writing the last unit, and waiting for the others."""
        self.wait_written()
        self._running = False
        self._stop_progress()

    def close(self) -> None:
        """Let what is being written end, whatever happened to the rest."""
        self._writer.shutdown()
        self._stop_progress()

    def _stop_progress(self) -> None:
        """Leave the terminal as it was."""
        if self._progress is not None:
            self._progress.stop()
            self._progress = None


def run_loop(
    work: Work,
    source: ModelSource,
    config: Config,
    output: Output,
    *,
    then: Callable[[int, int], None] | None = None,
) -> None:
    """Run all pending units of `work` over the ranks of this launch.

    When all ranks are done, each calls `then` with its rank and the world size. Returns, on every
    rank, when all are through. Raises Stopped after SIGTERM or SIGINT.
    """
    launch = find_launch(config.trainer)
    kind = resolve_strategy(config.trainer, launch)
    peers = Peers(launch, config.trainer.peer_timeout, config.store)
    trainer = make_trainer(config.trainer, launch, kind, config.model.dtype, [peers])
    predictor = _Predictor(work, source, config, kind, peers, output)
    handlers = predictor.watch_signals()
    try:
        with peers.guard():
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", ".*does not have many workers.*")
                warnings.filterwarnings("ignore", "predict returned None.*")
                warnings.filterwarnings("ignore", ".*LeafSpec.* is deprecated.*")
                warnings.filterwarnings("ignore", ".*all_gather_into_tensor. is deprecated.*")
                trainer.predict(predictor, return_predictions=False)
            peers.wait_for_all()
            if then is not None:
                then(trainer.global_rank, trainer.world_size)
                peers.wait_for_all()
            trainer.strategy.barrier()
    finally:
        predictor.close()
        for number, handler in handlers.items():
            signal.signal(number, handler)

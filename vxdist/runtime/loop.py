"""The Lightning predict loop that locate and evaluate share.

Work is cut into tasks (parts, conditions), each a fixed list of batches. One rank runs a task from
beginning to end, then writes its results. The batches of a task never depend on the world size.
"""

import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from types import MappingProxyType
from typing import Any

import lightning.pytorch as pl
import torch
from torch.utils.data import DataLoader

from vxdist import stopping
from vxdist.config import Config
from vxdist.errors import UserError
from vxdist.hooks.selftest import ready_hook_points
from vxdist.model.decoder import find_decoder
from vxdist.model.hook_points import find_hook_points
from vxdist.model.load import load_model
from vxdist.model.running import run_always
from vxdist.model.source import ModelSource
from vxdist.output import Output
from vxdist.plan import assign
from vxdist.progress import WorkProgress
from vxdist.runtime.identity import (
    describe_hardware,
    exchange,
    find_difference,
    gather_facts,
)
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
        identity: Mapping[str, Any],
    ) -> None:
        super().__init__()
        self._peers, self._output, self._identity = peers, output, identity
        self._noun = work.task_name
        self._batch = 0
        self._work, self._source, self._settings = work, source, config
        self._strategy = strategy
        self._pending: Mapping[int, int] = {}
        self._assigned: Sequence[Sequence[int]] = ()
        self._progress: WorkProgress | None = None
        self._writer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="writer")
        self._written: Future[None] | None = None

    def setup(self, stage: str) -> None:
        """Agree on the tasks that are left, before any rank starts."""
        if self._settings.trainer.threads is not None:
            # Only now, as Lightning sets a number of its own when it launches processes.
            torch.set_num_threads(self._settings.trainer.threads)
        if self.trainer.world_size > 1:
            self._compare_ranks()
        self.trainer.strategy.barrier()
        self._pending = self._work.pending()
        self._assigned = assign(self._pending, self.trainer.world_size)
        if self.trainer.is_global_zero and (idle := describe_idle(self._assigned, self._noun)):
            print(f"warning: {idle}", file=sys.stderr)
        self.trainer.strategy.barrier()

    def _compare_ranks(self) -> None:
        """Raise UserError, on all ranks, if one has other files, settings or packages."""
        facts = gather_facts(self._settings, self._strategy, self._source, self._identity)
        difference = find_difference(exchange(self._peers.name, facts))
        if difference is not None:
            raise UserError(difference)
        hardware = {"hardware": describe_hardware(self._settings, self.device)}
        kinds = {facts["hardware"] for _, facts in exchange(self._peers.name, hardware)}
        if self.trainer.is_global_zero and len(kinds) > 1:
            print(
                f"warning: ranks compute on {' and '.join(sorted(kinds))}, which may round "
                "differently; counts then depend on which rank a part is run on",
                file=sys.stderr,
            )

    def configure_model(self) -> None:
        """Load the model; under ZeRO-3 each rank keeps only its shard."""
        sharding: AbstractContextManager[None] = nullcontext()
        if self._strategy == "zero3":
            from vxdist.runtime.sharding import shard_while_loading

            sharding = shard_while_loading(self.trainer.strategy, self._source)
        with sharding:
            self.causal_model = load_model(self._source, self._settings.model)
        # Also before hooks are there, so that all that is computed is of the same bits.
        run_always(find_hook_points(find_decoder(self.causal_model)).blocks)

    def predict_dataloader(self) -> DataLoader[Batch]:
        """This rank's batches."""
        if self._work.settle(self.causal_model):
            self._pending = self._work.pending()
        lengths = [sum(len(self._work.batches(t)) for t in tasks) for tasks in self._assigned]
        rank = self.trainer.global_rank
        # Lightning refuses an empty loader, so a rank without work runs one filler batch.
        length = max(lengths) if self._strategy == "zero3" else max(1, lengths[rank])
        schedule = Schedule(self._work, self._assigned[rank], length, min(self._pending))
        return DataLoader(schedule, batch_size=None, shuffle=False)

    def on_predict_start(self) -> None:
        """Register hooks and signal handlers.

        Only now, as DeepSpeed deletes earlier hooks, and Lightning replaces earlier handlers.
        """
        stopping.check()
        stopping.be_patient(True)
        self._work.attach(ready_hook_points(self.causal_model), self.device)
        self._work.begin(self.causal_model)
        tasks = self._assigned[self.trainer.global_rank]
        self._progress = WorkProgress(
            self._work.title,
            sum(self._pending[task] for task in tasks),
            "tokens",
            shown=self._output.shown and self.trainer.is_global_zero,
            seconds=self._settings.trainer.progress_seconds,
        )
        self._progress.start()

    def predict_step(self, batch: Batch) -> None:
        """Run one batch; after the last of a task, write its results."""
        if stopping.is_asked():
            self.wait_written()
            stopping.check()
        task, batches = f"{self._noun} {batch.task}", len(self._work.batches(batch.task))
        self._batch += 1
        step = "a filler batch" if batch.filler else f"{task}, batch {self._batch} of {batches}"
        with self._peers.at(step):
            self._work.step(self.causal_model, batch)
        if batch.ends_task:
            self._batch = 0
            with self._peers.at(f"{task}, after batch {batches} of {batches}"):
                write = self._work.finish(batch.task)
            self._write(self._peers.at(f"{task}, while its results were written")(write))
        if self._progress is not None and not batch.filler:
            self._progress.advance(batch.token_ids_BT.numel())

    def _write(self, write: Callable[[], None]) -> None:
        """Write a task's results in a thread; an error from the previous task is raised here."""
        self.wait_written()
        self._written = self._writer.submit(write)

    def wait_written(self) -> None:
        """Wait until all results handed over are written. Raises what writing them raised."""
        written, self._written = self._written, None
        if written is not None:
            written.result()

    def on_predict_end(self) -> None:
        """After the last batch: wait until the last task is written."""
        stopping.be_patient(False)
        self.wait_written()
        stopping.check()
        self._stop_progress()

    def close(self) -> None:
        """Wait for results that are being written, however the run ended."""
        self._writer.shutdown()
        self._stop_progress()

    def _stop_progress(self) -> None:
        """Restore the terminal."""
        if self._progress is not None:
            self._progress.stop()
            self._progress = None


def run_loop(
    work: Work,
    source: ModelSource,
    config: Config,
    output: Output,
    *,
    identity: Mapping[str, Any] = MappingProxyType({}),
    gradients: bool = False,
    then: Callable[[int, int], None] | None = None,
) -> None:
    """Run all pending tasks of `work` on the ranks of this launch.

    `identity` is what decides the stage's numbers: ranks must agree in it, in the model's files,
    and in the settings and packages that decide numbers; else UserError names the rank. With
    `gradients` the steps of `work` may turn gradients on.
    When all ranks are done, each calls `then` with its rank and the world size. Returns when that
    has ended on every rank. Raises Stopped after SIGTERM or SIGINT.
    """
    launch = find_launch(config.trainer)
    kind = resolve_strategy(config.trainer, launch)
    peers = Peers(launch, config.trainer.peer_timeout, config.store)
    trainer = make_trainer(
        config.trainer, launch, kind, config.model.dtype, [peers], gradients=gradients
    )
    predictor = _Predictor(work, source, config, kind, peers, output, identity)
    try:
        with stopping.for_lightning(), peers.guard():
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

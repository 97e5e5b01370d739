"""How processes hold the model: one process, a copy each (ddp), or shards of it (zero3)."""

import datetime
import logging
import os
from collections.abc import Sequence
from typing import Any

import torch
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.strategies import DDPStrategy, Strategy

from vxdist.config import TrainerConfig
from vxdist.errors import UserError
from vxdist.ranks import under_slurm
from vxdist.runtime.checks import check_trainer
from vxdist.runtime.launch import Launch
from vxdist.runtime.meeting import meet_ranks


class MeetingStrategy(DDPStrategy):
    """Lightning's DDP, whose ranks meet before their process group is made."""

    def __init__(self, *, meet_timeout: float, **options: Any) -> None:
        super().__init__(**options)
        self._meet_timeout = meet_timeout

    def setup_distributed(self) -> None:
        """Meet first."""
        self.set_world_ranks()
        self._met = meet_ranks(self, self._meet_timeout)
        super().setup_distributed()


def resolve_strategy(config: TrainerConfig, launch: Launch) -> str:
    """The strategy to use: single, ddp or zero3. Raises UserError if the machine cannot run it."""
    if config.accelerator == "gpu":
        if not torch.cuda.is_available():
            raise UserError("trainer.accelerator: gpu, but torch finds no GPU here; use cpu")
        if torch.cuda.device_count() < launch.devices:
            raise UserError(
                f"trainer.devices: {launch.devices}, but torch finds {torch.cuda.device_count()} "
                "GPUs on this machine"
            )
    check_trainer(config, launch)
    if config.strategy == "auto":
        return "single" if launch.world_size == 1 else "ddp"
    return config.strategy


def describe_idle(assigned: Sequence[Sequence[int]], noun: str) -> str | None:
    """A line that names the ranks without a task; None if every rank has one.

    `assigned` holds each rank's tasks, and `noun` says what a task is: a part, a condition.
    """
    idle = [rank for rank, tasks in enumerate(assigned) if not tasks]
    if not idle:
        return None
    runs: list[list[int]] = []
    for rank in idle:
        if runs and runs[-1][-1] == rank - 1:
            runs[-1] = [runs[-1][0], rank]
        else:
            runs.append([rank])
    named = ", ".join("-".join(map(str, run)) for run in runs)
    left = sum(map(len, assigned))
    return (
        f"{left} {noun}{'s' * (left > 1)} left for {len(assigned)} ranks, so "
        f"rank{'s' * (len(idle) > 1)} {named} will be idle; fewer processes are enough"
    )


def make_trainer(
    config: TrainerConfig,
    launch: Launch,
    kind: str,
    dtype: str,
    callbacks: Sequence[Callback],
    *,
    gradients: bool = False,
) -> Trainer:
    """A Lightning trainer for prediction only: no logs, checkpoints or progress bars.

    `kind` is the result of `resolve_strategy`. With `gradients`, tensors made on the way are
    ordinary ones, so that a step can turn gradients on: those made in inference mode never can.
    """
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    # Only for loading, when a rank may have to wait long for another; peers.py detects dead ranks.
    timeout = datetime.timedelta(seconds=config.load_timeout)
    backend = "nccl" if config.accelerator == "gpu" else "gloo"
    strategy: Strategy | str = "auto"
    meeting = config.meet_timeout
    if kind == "ddp":
        strategy = MeetingStrategy(
            process_group_backend=backend, timeout=timeout, meet_timeout=meeting
        )
    elif kind == "zero3":
        from vxdist.runtime.sharding import make_zero3

        strategy = make_zero3(
            config, dtype, backend=backend, timeout=timeout, world_size=launch.world_size
        )
    plugins: list[Any] = []
    if under_slurm(os.environ) and "TORCHELASTIC_RUN_ID" not in os.environ:
        # Slurm requeues the job itself; Lightning's requeue would save a checkpoint.
        plugins = [SLURMEnvironment(auto_requeue=False)]
    return Trainer(
        accelerator=config.accelerator,
        devices=launch.devices,
        num_nodes=launch.num_nodes,
        strategy=strategy,
        plugins=plugins,
        callbacks=list(callbacks),
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        inference_mode=not gradients,
    )

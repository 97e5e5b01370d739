"""How processes share the work: one model, a copy each (ddp), or one in shards (zero3)."""

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
from vxdist.runtime.launch import Launch


def resolve_strategy(config: TrainerConfig, launch: Launch) -> str:
    """single, ddp or zero3. Raises UserError if the machine cannot run it."""
    if config.accelerator == "gpu":
        if not torch.cuda.is_available():
            raise UserError("trainer.accelerator: gpu, but torch sees none here; use cpu")
        if torch.cuda.device_count() < launch.devices:
            raise UserError(
                f"trainer.devices: {launch.devices}, but torch sees {torch.cuda.device_count()} "
                "GPUs on this machine"
            )
    if config.peer_timeout < 1:
        raise UserError(f"trainer.peer_timeout: {config.peer_timeout} must be at least 1 second")
    from vxdist.runtime.zero3 import check_zero3

    check_zero3(config, devices=launch.devices)
    if config.strategy == "auto":
        return "single" if launch.world_size == 1 else "ddp"
    if config.strategy == "single" and launch.world_size > 1:
        raise UserError(
            f"trainer.strategy: single, but there are {launch.world_size} processes; use ddp"
        )
    return config.strategy


def describe_idle(shares: Sequence[Sequence[int]], noun: str) -> str | None:
    """A line that names the ranks without a share of the `noun`s; None if each has one."""
    idle = [rank for rank, share in enumerate(shares) if not share]
    if not idle:
        return None
    runs: list[list[int]] = []
    for rank in idle:
        if runs and runs[-1][-1] == rank - 1:
            runs[-1] = [runs[-1][0], rank]
        else:
            runs.append([rank])
    named = ", ".join("-".join(map(str, run)) for run in runs)
    left = sum(map(len, shares))
    return (
        f"{left} {noun}{'s' * (left > 1)} left for {len(shares)} ranks, so "
        f"rank{'s' * (len(idle) > 1)} {named} will be idle; fewer processes do as well"
    )


def make_trainer(
    config: TrainerConfig, launch: Launch, kind: str, dtype: str, callbacks: Sequence[Callback]
) -> Trainer:
    """A Lightning trainer that predicts and does nothing else: no logs, checkpoints or bars.

    `kind` is what `resolve_strategy` said.
    """
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    # Not for a dead peer, which peers.py notices: a rank may rightly wait while another loads.
    timeout = datetime.timedelta(seconds=config.load_timeout)
    backend = "nccl" if config.accelerator == "gpu" else "gloo"
    strategy: Strategy | str = "auto"
    if kind == "ddp":
        strategy = DDPStrategy(process_group_backend=backend, timeout=timeout)
    elif kind == "zero3":
        from vxdist.runtime.zero3 import make_zero3

        strategy = make_zero3(
            config, dtype, backend=backend, timeout=timeout, world_size=launch.world_size
        )
    plugins: list[Any] = []
    if under_slurm(os.environ) and "TORCHELASTIC_RUN_ID" not in os.environ:
        # Slurm starts the job again itself; Lightning's requeue would save a checkpoint.
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
    )

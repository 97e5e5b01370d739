"""How processes share the work: one model, a copy each (ddp), or one in shards (zero3)."""

import datetime
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.pytorch import Trainer
from lightning.pytorch.strategies import DDPStrategy, Strategy

from vxdist.config import TrainerConfig
from vxdist.errors import UserError
from vxdist.progress import find_rank

TIMEOUT = datetime.timedelta(minutes=30)
"""For collectives: loading a 70B model keeps ranks waiting for minutes."""


@dataclass(frozen=True, kw_only=True)
class Launch:
    """The processes of this run, and which one this is."""

    rank: int
    devices: int
    num_nodes: int

    @property
    def world_size(self) -> int:
        """Processes over all nodes."""
        return self.devices * self.num_nodes


def find_launch(config: TrainerConfig, environ: Mapping[str, str] = os.environ) -> Launch:
    """What torchrun started, else what the configuration says.

    Raises UserError if the two disagree.
    """
    rank = find_rank(environ)
    if "TORCHELASTIC_RUN_ID" not in environ:
        return Launch(rank=rank, devices=config.devices or 1, num_nodes=config.num_nodes or 1)
    started = Launch(
        rank=rank,
        devices=int(environ["LOCAL_WORLD_SIZE"]),
        num_nodes=int(environ["WORLD_SIZE"]) // int(environ["LOCAL_WORLD_SIZE"]),
    )
    for key, asked, found in (
        ("devices", config.devices, started.devices),
        ("num_nodes", config.num_nodes, started.num_nodes),
    ):
        if asked is not None and asked != found:
            raise UserError(
                f"trainer.{key}: {asked}, but torchrun started {found}; make them agree, or "
                "leave the setting out"
            )
    return started


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
    if config.strategy == "auto":
        return "single" if launch.world_size == 1 else "ddp"
    if config.strategy == "single" and launch.world_size > 1:
        raise UserError(
            f"trainer.strategy: single, but there are {launch.world_size} processes; use ddp"
        )
    return config.strategy


def make_trainer(config: TrainerConfig, launch: Launch, kind: str, dtype: str) -> Trainer:
    """A Lightning trainer that predicts and does nothing else: no logs, checkpoints or bars.

    `kind` is what `resolve_strategy` said.
    """
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    backend = "nccl" if config.accelerator == "gpu" else "gloo"
    strategy: Strategy | str = "auto"
    if kind == "ddp":
        strategy = DDPStrategy(process_group_backend=backend, timeout=TIMEOUT)
    elif kind == "zero3":
        from vxdist.model.zero3 import make_zero3

        strategy = make_zero3(backend, dtype, TIMEOUT)
    plugins: list[Any] = []
    if SLURMEnvironment.detect() and "TORCHELASTIC_RUN_ID" not in os.environ:
        # Slurm starts the job again itself; Lightning's requeue would save a checkpoint.
        plugins = [SLURMEnvironment(auto_requeue=False)]
    return Trainer(
        accelerator=config.accelerator,
        devices=launch.devices,
        num_nodes=launch.num_nodes,
        strategy=strategy,
        plugins=plugins,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
    )

"""How processes share the work: one model, a copy each (ddp), or one in shards (zero3)."""

import datetime
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.strategies import DDPStrategy, Strategy

from vxdist.config import TrainerConfig
from vxdist.errors import UserError
from vxdist.progress import find_rank, under_slurm


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
    """What torchrun or srun started, else what the configuration says.

    Raises UserError if the two disagree.
    """
    if "TORCHELASTIC_RUN_ID" in environ:
        starter, world_size = "torchrun", int(environ["WORLD_SIZE"])
        devices = int(environ["LOCAL_WORLD_SIZE"])
        num_nodes = world_size // devices
    elif under_slurm(environ):
        starter, world_size = "Slurm", int(environ["SLURM_NTASKS"])
        num_nodes = int(environ.get("SLURM_NNODES", "1"))
        devices = _slurm_devices(environ, world_size, num_nodes)
    else:
        return _launch_alone(config, environ)
    for key, asked, found in (
        ("devices", config.devices, devices),
        ("num_nodes", config.num_nodes, num_nodes),
    ):
        if asked is not None and asked != found:
            raise UserError(
                f"trainer.{key}: {asked}, but {starter} started {found}; make them agree, or "
                "leave the setting out"
            )
    if devices * num_nodes != world_size:
        raise UserError(
            f"{starter} started {world_size} processes on {num_nodes} nodes, {devices} of them on "
            "this one; start as many on every node"
        )
    return Launch(rank=find_rank(environ), devices=devices, num_nodes=num_nodes)


def _slurm_devices(environ: Mapping[str, str], world_size: int, num_nodes: int) -> int:
    """Tasks on each node, which Slurm tells only if it was asked for so many."""
    if world_size > 1 and "SLURM_STEP_ID" not in environ:
        raise UserError(
            f"Slurm gave this job {world_size} tasks, but this command is started once; put srun "
            "or torchrun before it (see launch/README.md)"
        )
    devices = environ.get("SLURM_NTASKS_PER_NODE", "1" if world_size == 1 else None)
    if devices is None:
        raise UserError(
            f"Slurm started {world_size} tasks, not so many for each node; say "
            f"srun --ntasks-per-node {-(-world_size // num_nodes)}"
        )
    return int(devices)


def _launch_alone(config: TrainerConfig, environ: Mapping[str, str]) -> Launch:
    """Without a launcher: this process, which Lightning multiplies if there are more devices."""
    launch = Launch(rank=find_rank(environ), devices=config.devices or 1, num_nodes=1)
    if (config.num_nodes or 1) > 1:
        raise UserError(
            f"trainer.num_nodes: {config.num_nodes}, but neither torchrun nor srun started this "
            "process; start one torchrun on each node (see launch/README.md)"
        )
    world_size = int(environ.get("WORLD_SIZE", launch.world_size))
    if launch.world_size != world_size:
        raise UserError(
            f"trainer.devices: {launch.devices}, but WORLD_SIZE is {world_size} in the "
            "environment; start the processes with torchrun or srun, or unset it"
        )
    return launch


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
    from vxdist.model.zero3 import check_zero3

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
        from vxdist.model.zero3 import make_zero3

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

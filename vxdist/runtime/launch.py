"""The processes of a run: those that torchrun or srun started, or else those configured."""

import os
from collections.abc import Mapping
from dataclasses import dataclass

from vxdist.config import TrainerConfig
from vxdist.errors import UserError
from vxdist.ranks import find_rank, under_slurm


@dataclass(frozen=True, kw_only=True)
class Launch:
    """The processes of this run, and the rank of this one."""

    rank: int
    devices: int
    num_nodes: int

    @property
    def world_size(self) -> int:
        """Number of processes, over all nodes."""
        return self.devices * self.num_nodes


def find_launch(config: TrainerConfig, environ: Mapping[str, str] = os.environ) -> Launch:
    """The processes that torchrun or srun started, or else those that the configuration asks for.

    Raises UserError if launcher and configuration disagree.
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
    for key, configured, started in (
        ("devices", config.devices, devices),
        ("num_nodes", config.num_nodes, num_nodes),
    ):
        if configured is not None and configured != started:
            raise UserError(
                f"trainer.{key}: {configured}, but {starter} started {started}; make them agree, "
                "or omit the setting"
            )
    if devices * num_nodes != world_size:
        raise UserError(
            f"{starter} started {world_size} processes on {num_nodes} nodes, {devices} of them on "
            "this one; start the same number on every node"
        )
    return Launch(rank=find_rank(environ), devices=devices, num_nodes=num_nodes)


def _slurm_devices(environ: Mapping[str, str], world_size: int, num_nodes: int) -> int:
    """Tasks per node, which Slurm reports only if the number was requested."""
    if world_size > 1 and "SLURM_STEP_ID" not in environ:
        raise UserError(
            f"Slurm gave this job {world_size} tasks, but this command was started once; put srun "
            "or torchrun before it (see launch/README.md)"
        )
    devices = environ.get("SLURM_NTASKS_PER_NODE", "1" if world_size == 1 else None)
    if devices is None:
        raise UserError(
            f"Slurm started {world_size} tasks without a fixed number per node; use "
            f"srun --ntasks-per-node {-(-world_size // num_nodes)}"
        )
    return int(devices)


def _launch_alone(config: TrainerConfig, environ: Mapping[str, str]) -> Launch:
    """Without a launcher: this process; Lightning starts one more for each further device."""
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

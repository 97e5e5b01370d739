"""The machine that a run is planned for: its devices, their memory and speed."""

import os
from dataclasses import dataclass
from typing import Literal

from vxdist.config import TrainerConfig
from vxdist.errors import UserError
from vxdist.estimate.assumptions import Assumptions
from vxdist.estimate.units import check_amount, parse_bytes

MOST_GPUS = 100_000
"""Largest number of GPUs that is accepted; more is taken for a typo."""


@dataclass(frozen=True, kw_only=True)
class MachineOptions:
    """What the command line says about the machine; None if it says nothing."""

    gpus: int | None = None
    gpu_memory: str | None = None
    nodes: int | None = None
    gpu_flops: float | None = None
    fraction: float | None = None


@dataclass(frozen=True, kw_only=True)
class Machine:
    """Nodes and devices (GPUs, or processes on CPUs). Memory in bytes, speed per second."""

    kind: Literal["gpu", "cpu"]
    nodes: int
    devices: int
    """Number of devices per node."""
    memory: int
    """Memory per device in bytes."""
    flops: float
    """Peak operations per second per device."""
    fraction: float
    """Fraction of the peak that is reached."""
    node_link: float
    """Bytes per second that a device receives from others in its node."""
    link: float
    """Bytes per second that a device receives from other nodes."""

    @property
    def world_size(self) -> int:
        """Total number of devices."""
        return self.nodes * self.devices


def find_machine(config: TrainerConfig, options: MachineOptions, assume: Assumptions) -> Machine:
    """The GPUs of the options or the configuration; this machine if neither has GPUs.

    Raises UserError, naming the option, if one is missing, or options contradict each other.
    """
    check_amount("gpus", options.gpus, MOST_GPUS)
    check_amount("nodes", options.nodes, MOST_GPUS)
    check_amount("gpu_flops", options.gpu_flops)
    check_amount("fraction", options.fraction, 1)
    fraction = assume.fraction if options.fraction is None else options.fraction
    if config.accelerator == "cpu" and options.gpus is None and options.gpu_memory is None:
        return _this_machine(config, options, assume, fraction)
    if options.gpu_memory is None:
        raise UserError("--gpu-memory: not given; give the memory of one GPU, such as 80GB")
    nodes, devices = _count(config, options, assume)
    return Machine(
        kind="gpu",
        nodes=nodes,
        devices=devices,
        memory=parse_bytes(options.gpu_memory, "--gpu-memory"),
        flops=assume.gpu_flops if options.gpu_flops is None else options.gpu_flops,
        fraction=fraction,
        node_link=assume.node_link,
        link=assume.link,
    )


def _count(config: TrainerConfig, options: MachineOptions, assume: Assumptions) -> tuple[int, int]:
    """Numbers of nodes, and of GPUs per node."""
    if options.gpus is None:
        if config.devices is None or config.accelerator == "cpu":
            raise UserError("--gpus: not given, and the configuration sets no number; give it")
        return options.nodes or config.num_nodes or 1, config.devices
    nodes = options.nodes or _nodes(options.gpus, config, assume)
    if options.gpus % nodes:
        raise UserError(
            f"--gpus: {options.gpus} cannot be divided evenly among {nodes} nodes; change it, or "
            "give --nodes"
        )
    return nodes, options.gpus // nodes


def _nodes(gpus: int, config: TrainerConfig, assume: Assumptions) -> int:
    """Number of nodes: by the configured GPUs per node, or as configured, or of the usual size."""
    if config.accelerator == "gpu":
        if config.devices is not None and gpus % config.devices == 0:
            return gpus // config.devices
        if config.num_nodes is not None:
            return config.num_nodes
    return -(-gpus // assume.gpus_per_node)


def _this_machine(
    config: TrainerConfig, options: MachineOptions, assume: Assumptions, fraction: float
) -> Machine:
    nodes, devices = options.nodes or config.num_nodes or 1, config.devices or 1
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    threads = config.threads or max(1, (cores or 1) // devices)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return Machine(
        kind="cpu",
        nodes=nodes,
        devices=devices,
        memory=memory // devices,
        flops=assume.cpu_flops * min(threads, cores or 1),
        fraction=fraction,
        node_link=assume.cpu_link,
        link=assume.cpu_link,
    )

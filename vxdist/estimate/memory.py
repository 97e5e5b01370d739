"""Memory that a run takes on each device, and on each node beside its GPUs. All in bytes."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from vxdist.config import Config
from vxdist.estimate.assumptions import Assumptions
from vxdist.estimate.machine import Machine
from vxdist.estimate.shape import Size
from vxdist.estimate.work import Load
from vxdist.hooks.counter import neuron_bytes
from vxdist.hooks.kernel import BLOCK
from vxdist.hooks.measures import choose
from vxdist.model.load import ModelShape
from vxdist.runtime.zero3 import LIVE_LAYERS, SWAP_BUFFERS, check_shard_group
from vxstore.statistics import DEFAULT

ITEM_BYTES: Mapping[str, int] = {"float32": 4, "bfloat16": 2, "float16": 2}
WORKSPACE = 3 * 4 * BLOCK
"""What plain torch counts in (a GPU with Triton needs none), and again what further statistics are
measured in."""


@dataclass(frozen=True, kw_only=True)
class Activations:
    """Largest activations of one token's share of a batch, by stage."""

    locate: float
    evaluate: float


@dataclass(frozen=True, kw_only=True)
class Memory:
    """What one device holds at its fullest under a strategy, and one node beside its GPUs."""

    strategy: str
    weights: float
    """A copy, or a shard."""
    gathered: float
    """Weights that zero3 has put together, of the layer that runs and the next."""
    counts: float
    locate: float
    """Activations of locate's largest batch."""
    evaluate: float
    """Activations, or logits, of evaluate's largest batch."""
    reserve: float
    """CUDA, NCCL and gaps; on CPUs, Python and torch."""
    available: float
    node: float
    """Memory of the node that is not a GPU's; on CPUs 0, as all is counted above."""
    disk: float
    """Local disk of each node that holds shards."""

    def needed_by(self, stage: str) -> float:
        """By `locate` or `evaluate`."""
        own = self.counts + self.locate if stage == "locate" else self.evaluate
        return self.weights + self.gathered + own + self.reserve

    @property
    def needed(self) -> float:
        """By the stage that needs more."""
        return max(self.needed_by("locate"), self.needed_by("evaluate"))

    @property
    def fits(self) -> bool:
        """Whether a device has as much."""
        return self.needed <= self.available


@dataclass(frozen=True, kw_only=True)
class Planner:
    """All that decides memory; `under` says what a strategy takes."""

    config: Config
    shape: ModelShape
    size: Size
    machine: Machine
    activations: Activations
    assume: Assumptions

    def under(self, strategy: str, locate: Load, evaluate: Load | None) -> Memory:
        """Memory under `single`, `ddp` or `zero3`."""
        machine, item = self.machine, ITEM_BYTES[self.config.model.dtype]
        is_gpu, sharded = machine.kind == "gpu", strategy == "zero3"
        neurons = self.shape.num_layers * self.shape.num_neurons
        on_device, on_node, on_disk = self._shards() if sharded else (self._weights(), 0.0, 0.0)
        process = self.assume.process_memory if is_gpu else self.assume.cpu_process_memory
        statistics = choose(self.config.locate.statistics)
        totals = neuron_bytes(statistics) * neurons
        # Copied for writing, which is done while the next part runs; one array at a time is there
        # in the type it is recorded in, too.
        copies = totals + max(np.dtype(row.record_dtype).itemsize for row in statistics) * neurons
        workspaces = 1 if {row.name for row in statistics} <= set(DEFAULT) else 2
        if not is_gpu:
            on_device, on_node = on_device + on_node / machine.devices, 0.0
        return Memory(
            strategy=strategy,
            weights=on_device,
            gathered=self._gathered() * item if sharded else 0.0,
            counts=totals + workspaces * WORKSPACE + (0 if is_gpu else copies),
            locate=self.activations.locate * locate.rows * locate.width,
            evaluate=self._evaluate(evaluate) if evaluate else 0.0,
            reserve=self.assume.reserve * machine.memory if is_gpu else process,
            available=machine.memory,
            node=on_node + machine.devices * (process + copies) if is_gpu else 0.0,
            disk=on_disk,
        )

    def on(self, nodes: int) -> "Planner":
        """The same on another number of nodes."""
        return dataclasses.replace(self, machine=dataclasses.replace(self.machine, nodes=nodes))

    def with_trainer(self, **settings: Any) -> "Planner":
        """The same with other settings of `trainer`."""
        trainer = dataclasses.replace(self.config.trainer, **settings)
        return dataclasses.replace(self, config=dataclasses.replace(self.config, trainer=trainer))

    def _weights(self) -> float:
        return float(self.size.parameters * ITEM_BYTES[self.config.model.dtype])

    def _shards(self) -> tuple[float, float, float]:
        """Shards on a device, in a node's CPU memory, and on a node's disk."""
        trainer, weights = self.config.trainer, self._weights()
        world_size, group = self.machine.world_size, trainer.shard_group
        check_shard_group(group, self.machine.devices)
        # hpZ keeps a second set of shards, of a copy within the group, beside the first.
        shard = weights / world_size + (weights / group if group and group < world_size else 0.0)
        if trainer.offload == "none":
            return shard, 0.0, 0.0
        if trainer.offload == "cpu":
            return 0.0, shard * self.machine.devices, 0.0
        item = ITEM_BYTES[self.config.model.dtype]
        buffers = SWAP_BUFFERS * self.size.largest * item / world_size
        return 0.0, buffers * self.machine.devices, shard * self.machine.devices

    def _gathered(self) -> int:
        """Elements; fetching ahead stops once it is over the limit, so by one matrix at most."""
        live = LIVE_LAYERS * self.size.layer + self.size.largest_in_layer
        return min(self.size.parameters, max(live, self.size.largest))

    def _evaluate(self, load: Load) -> float:
        """The decoder's activations; or, later, its output with the logits, as computed, picked
        and in float32, with the exponentials that their sum needs."""
        item, size = ITEM_BYTES[self.config.model.dtype], self.size
        tokens = load.rows * load.width
        every = load.logit_rows * load.logit_places
        of_kept = item * (every + load.logit_rows) + 8 * load.logit_rows
        logits = size.vocabulary * of_kept + item * size.hidden * (tokens + every)
        return max(self.activations.evaluate * tokens, logits)

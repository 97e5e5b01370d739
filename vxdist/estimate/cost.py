"""Operations and time of a stage."""

from dataclasses import dataclass

from vxdist.config import Config
from vxdist.estimate.machine import Machine
from vxdist.estimate.memory import ITEM_BYTES
from vxdist.estimate.shape import Size
from vxdist.estimate.work import Load, Task
from vxdist.model.load import ModelShape


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Operations and time that a stage takes on the whole machine."""

    operations: float
    """Floating-point operations of all forward passes."""
    computing: float
    """Seconds of computation, at the assumed fraction of the peak."""
    gathering: float
    """Seconds in which zero3 gathers weights; this overlaps with computation."""

    @property
    def seconds(self) -> float:
        """Elapsed time."""
        return max(self.computing, self.gathering)

    @property
    def waits(self) -> bool:
        """Whether gathering takes longer than computing."""
        return self.gathering > self.computing


def count_operations(size: Size, shape: ModelShape, task: Task) -> float:
    """Floating-point operations of the forward passes of one task.

    Per token, 2 for each active parameter, and 4 x attention width x text width for each layer
    (Kaplan et al. 2020, arXiv 2001.08361, section 2.1: queries with keys, and weights with values,
    with no saving for the causal mask). The head runs only where a token is predicted.
    """
    decoder = 2.0 * size.active * task.tokens
    attention = 4.0 * shape.num_layers * size.attention_width * task.attended
    return decoder + attention + 2.0 * size.hidden * size.vocabulary * task.logits


def find_cost(
    config: Config, shape: ModelShape, size: Size, machine: Machine, strategy: str, load: Load
) -> Cost:
    """Operations and time of a stage.

    Computing takes as long as it takes the rank with the most tokens; zero3 gathers all weights at
    every step.
    """
    total = sum(count_operations(size, shape, task) for task in load.tasks)
    ranks = machine.world_size
    busiest = load.busiest(ranks)
    computing = sum(count_operations(size, shape, task) for task in busiest)
    computing /= machine.flops * machine.fraction
    gathering = 0.0
    if strategy == "zero3" and ranks > 1:
        group = config.trainer.shard_group or ranks
        within_node = machine.nodes == 1 or group <= machine.devices
        received = size.decoder * ITEM_BYTES[config.model.dtype] * (1 - 1 / group)
        gathering = (
            load.steps(ranks) * received / (machine.node_link if within_node else machine.link)
        )
    return Cost(operations=total, computing=computing, gathering=gathering)

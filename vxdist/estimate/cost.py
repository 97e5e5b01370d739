"""Operations and hours of a stage."""

from dataclasses import dataclass

from vxdist.config import Config
from vxdist.estimate.machine import Machine
from vxdist.estimate.memory import ITEM_BYTES
from vxdist.estimate.shape import Size
from vxdist.estimate.work import Load, Unit
from vxdist.model.load import ModelShape


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What a stage takes of the whole machine."""

    operations: float
    """Floating-point, of all forward passes."""
    computing: float
    """Seconds, at the stated fraction of the peak."""
    gathering: float
    """Seconds in which zero3 puts weights together, while it computes."""

    @property
    def seconds(self) -> float:
        """On the clock."""
        return max(self.computing, self.gathering)

    @property
    def waits(self) -> bool:
        """Whether gathering is what takes the time."""
        return self.gathering > self.computing


def count_operations(size: Size, shape: ModelShape, unit: Unit) -> float:
    """Floating-point operations of one unit's forward passes.

    2 for each parameter that a token meets, and 4 x attention width x text width for each token
    and layer (Kaplan et al. 2020, arXiv 2001.08361, section 2.1; queries with keys, and weights
    with values, no half of them spared). The head runs where a token is predicted.
    """
    decoder = 2.0 * size.active * unit.tokens
    attention = 4.0 * shape.num_layers * size.attention_width * unit.attended
    return decoder + attention + 2.0 * size.hidden * size.vocabulary * unit.logits


def find_cost(
    config: Config, shape: ModelShape, size: Size, machine: Machine, strategy: str, load: Load
) -> Cost:
    """Operations of a stage; seconds that the rank with the most computes, and that zero3 gathers
    the weights at every step."""
    total = sum(count_operations(size, shape, unit) for unit in load.units)
    ranks = machine.world_size
    busiest = load.busiest(ranks)
    computing = sum(count_operations(size, shape, unit) for unit in busiest)
    computing /= machine.flops * machine.fraction
    gathering = 0.0
    if strategy == "zero3" and ranks > 1:
        group = config.trainer.shard_group or ranks
        within = machine.nodes == 1 or group <= machine.devices
        given = size.decoder * ITEM_BYTES[config.model.dtype] * (1 - 1 / group)
        gathering = load.steps(ranks) * given / (machine.node_link if within else machine.link)
    return Cost(operations=total, computing=computing, gathering=gathering)

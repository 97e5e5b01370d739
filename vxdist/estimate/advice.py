"""What to change where a run does not fit, a line for each change."""

from collections.abc import Callable, Iterator

from vxdist.estimate.estimate import Estimate
from vxdist.estimate.memory import Memory, Planner
from vxdist.estimate.units import show_bytes
from vxdist.estimate.work import Load, cut_questions, cut_stories

MOST_NODES = 1024
"""Where looking for enough nodes ends."""


def find_advice(
    estimate: Estimate, *, node_memory: int | None = None, disk: int | None = None
) -> list[str]:
    """What to change, best first; empty if all fits and nothing is idle.

    Memory of a node and room for the store are looked at if they are given, in bytes.
    """
    advice = [*_memory(estimate), *_gathering(estimate), *_ranks(estimate)]
    chosen = estimate.chosen
    if node_memory is not None and chosen.node > node_memory:
        advice.append(
            f"memory of a node: {show_bytes(chosen.node)} is needed and {show_bytes(node_memory)} "
            "is there; take more nodes, or trainer.offload: nvme or none"
        )
    size = sum(group.on_disk for group in estimate.store)
    if disk is not None and size > disk:
        advice.append(
            f"store: {show_bytes(size)} is more than {show_bytes(disk)}; lower "
            "locate.parts_per_group, to which most of it is proportional"
        )
    return advice


def _memory(estimate: Estimate) -> Iterator[str]:
    chosen, strategy = estimate.chosen, estimate.strategy
    if chosen.fits:
        whole = next(m for m in estimate.memory if m.strategy != "zero3")
        if strategy == "zero3" and whole.fits:
            yield (
                f"trainer.strategy: {whole.strategy} fits too, needs no gathering, and gives the "
                "same bits on any number of devices"
            )
        return
    sharded = next((m for m in estimate.memory if m.strategy == "zero3"), None)
    if strategy != "zero3" and sharded is not None and sharded.fits:
        yield (
            f"trainer.strategy: zero3 fits: {show_bytes(sharded.needed)} of "
            f"{show_bytes(sharded.available)} on each device"
        )
    lower = [*_smaller_batches(estimate)]
    yield from lower
    if strategy == "zero3" or sharded is None or not (sharded.fits or lower):
        yield from _more_devices(estimate)


def _smaller_batches(estimate: Estimate) -> Iterator[str]:
    """The largest half, quarter, ... of tokens_per_batch with which each stage fits."""
    config, corpus, lengths = estimate.config, estimate.corpus, estimate.lengths
    cuts: dict[str, Callable[[int], Load | None]] = {
        "locate": lambda limit: cut_stories(config, lengths, limit),
        "evaluate": lambda limit: cut_questions(config, corpus, lengths, limit),
    }
    limits = {
        "locate": config.locate.tokens_per_batch,
        "evaluate": config.evaluate.tokens_per_batch,
    }
    found = {}
    for load in estimate.loads:
        stage = load.title
        if estimate.chosen.needed_by(stage) <= estimate.chosen.available:
            continue
        halves = (limits[stage] >> n for n in range(1, limits[stage].bit_length()))
        possible = (limit for limit in halves if limit >= load.longest)
        found[stage] = next((n for n in possible if _fits(estimate, stage, cuts[stage](n))), None)
    if None not in found.values():
        for stage, limit in found.items():
            yield f"{stage}.tokens_per_batch: {limit} is few enough"


def _fits(estimate: Estimate, stage: str, load: Load | None) -> bool:
    """Whether a stage does with this load."""
    locate = load if load is not None and stage == "locate" else estimate.locate
    memory = estimate.planner.under(estimate.strategy, locate, load)
    return memory.needed_by(stage) <= memory.available


def _more_devices(estimate: Estimate) -> Iterator[str]:
    """With zero3: the fewest nodes that will do; and shards in CPU memory."""
    planner, machine = estimate.planner, estimate.machine

    def under(planner: Planner) -> Memory:
        return planner.under("zero3", estimate.locate, estimate.evaluate)

    enough = (n for n in range(1, MOST_NODES + 1) if under(planner.on(n)).fits)
    nodes = next(enough, None)
    if nodes is not None and nodes > machine.nodes:
        noun = "GPUs" if machine.kind == "gpu" else "processes"
        yield (
            f"trainer.strategy: zero3 on {nodes} nodes of {machine.devices} {noun} "
            f"({nodes * machine.devices} in all) is the least that fits"
        )
    if machine.kind != "gpu" or planner.config.trainer.offload != "none":
        return
    offloaded = under(planner.with_trainer(offload="cpu"))
    if offloaded.fits:
        yield (
            "trainer.offload: cpu (with zero3) fits: it takes "
            f"{show_bytes(offloaded.node)} of memory on each node, and is slower"
        )


def _gathering(estimate: Estimate) -> Iterator[str]:
    """Where most of the time goes into gathering over the network: keep it within the nodes."""
    machine, trainer = estimate.machine, estimate.config.trainer
    waits = any(cost.waits for cost in estimate.costs.values())
    if not waits or machine.nodes == 1 or machine.devices == 1:
        return
    if trainer.shard_group is None and trainer.offload != "nvme":
        planner = estimate.planner.with_trainer(shard_group=machine.devices)
        memory = planner.under("zero3", estimate.locate, estimate.evaluate)
        if memory.fits:
            yield (
                f"trainer.shard_group: {machine.devices} fits, with {show_bytes(memory.needed)} on "
                "each device: gathering, which takes most of the time, stays within a node then"
            )
            return
    yield (
        "most of the time goes into gathering weights: larger batches (tokens_per_batch, or fewer "
        "parts, as a batch lies within a part) take fewer steps"
    )


def _ranks(estimate: Estimate) -> Iterator[str]:
    """No rank may be idle."""
    ranks = estimate.machine.world_size
    for load in estimate.loads:
        if len(load.units) >= ranks:
            continue
        idle = ranks - len(load.units)
        if load.title == "locate":
            groups = estimate.lengths.stories.values()
            enough = -(-ranks // len(groups))
            possible = enough <= min(map(len, groups))
            remedy = f"raise locate.parts_per_group to {enough}, or " if possible else ""
            noun = "parts"
        else:
            remedy, noun = "raise evaluate.controls, or ", "conditions"
        yield (
            f"{load.title}: {len(load.units)} {noun} leave {idle} of {ranks} devices idle; "
            f"{remedy}take fewer devices"
        )

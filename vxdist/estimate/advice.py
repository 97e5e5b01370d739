"""Advice on a run that does not fit or leaves devices idle: one line per change."""

from collections.abc import Callable, Iterator

from vxdist.estimate.estimate import Estimate
from vxdist.estimate.memory import Memory, Planner
from vxdist.estimate.units import show_bytes
from vxdist.estimate.work import Load, cut_questions, cut_stories
from vxdist.plan import deal

MOST_NODES = 1024
"""Largest number of nodes that is tried."""


def find_advice(
    estimate: Estimate, *, node_memory: int | None = None, disk: int | None = None
) -> list[str]:
    """What to change, best first; empty if the run fits and no device is idle.

    Memory per node and disk space for the store, in bytes, are checked if they are given.
    """
    advice = [*_memory(estimate), *_gathering(estimate), *_ranks(estimate)]
    chosen = estimate.chosen
    if node_memory is not None and chosen.node > node_memory:
        advice.append(
            f"CPU memory per node: {show_bytes(chosen.node)} needed, {show_bytes(node_memory)} "
            "available; use more nodes, or trainer.offload: nvme or none"
        )
    size = sum(group.on_disk for group in estimate.store)
    if disk is not None and size > disk:
        advice.append(
            f"store: {show_bytes(size)} is more than {show_bytes(disk)}; lower "
            "locate.parts_per_group, as most of the size is proportional to it"
        )
    return advice


def _memory(estimate: Estimate) -> Iterator[str]:
    chosen, strategy = estimate.chosen, estimate.strategy
    if chosen.fits:
        whole = next(m for m in estimate.memory if m.strategy != "zero3")
        if strategy == "zero3" and whole.fits:
            yield (
                f"trainer.strategy: {whole.strategy} also fits, does not gather weights, and gives "
                "bit-identical counts on any number of devices"
            )
        return
    sharded = next((m for m in estimate.memory if m.strategy == "zero3"), None)
    if strategy != "zero3" and sharded is not None and sharded.fits:
        yield (
            f"trainer.strategy: zero3 fits: {show_bytes(sharded.needed)} needed, "
            f"{show_bytes(sharded.available)} available per device"
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
    fitting: dict[str, int | None] = {}
    for load in estimate.loads:
        stage = load.title
        if estimate.chosen.needed_by(stage) <= estimate.chosen.available:
            continue
        halves = (limits[stage] >> n for n in range(1, limits[stage].bit_length()))
        possible = (limit for limit in halves if limit >= load.longest)
        fitting[stage] = next((n for n in possible if _fits(estimate, stage, cuts[stage](n))), None)
    if None not in fitting.values():
        for stage, limit in fitting.items():
            yield f"{stage}.tokens_per_batch: {limit} fits"


def _fits(estimate: Estimate, stage: str, load: Load | None) -> bool:
    """Whether a stage fits with this load."""
    locate = load if load is not None and stage == "locate" else estimate.locate
    memory = estimate.planner.under(estimate.strategy, locate, load)
    return memory.needed_by(stage) <= memory.available


def _more_devices(estimate: Estimate) -> Iterator[str]:
    """For zero3: the smallest number of nodes that fits, and shards in CPU memory."""
    if estimate.shape.packing is not None:
        return  # zero3 cannot shard packed weights
    planner, machine = estimate.planner, estimate.machine

    def under(planner: Planner) -> Memory:
        return planner.under("zero3", estimate.locate, estimate.evaluate)

    enough = (n for n in range(1, MOST_NODES + 1) if under(planner.on(n)).fits)
    nodes = next(enough, None)
    if nodes is not None and nodes > machine.nodes:
        noun = "GPUs" if machine.kind == "gpu" else "processes"
        yield (
            f"trainer.strategy: zero3 needs at least {nodes} nodes of {machine.devices} {noun} "
            f"({nodes * machine.devices} in total)"
        )
    if machine.kind != "gpu" or planner.config.trainer.offload != "none":
        return
    offloaded = under(planner.with_trainer(offload="cpu"))
    if offloaded.fits:
        yield (
            "trainer.offload: cpu (with zero3) fits: it takes "
            f"{show_bytes(offloaded.node)} of CPU memory per node, and is slower"
        )


def _gathering(estimate: Estimate) -> Iterator[str]:
    """If gathering over the network takes most of the time: keep it within the nodes."""
    machine, trainer = estimate.machine, estimate.config.trainer
    waits = any(cost.waits for cost in estimate.costs.values())
    if not waits or machine.nodes == 1 or machine.devices == 1:
        return
    if trainer.shard_group is None and trainer.offload != "nvme":
        planner = estimate.planner.with_trainer(shard_group=machine.devices)
        memory = planner.under("zero3", estimate.locate, estimate.evaluate)
        if memory.fits:
            yield (
                f"trainer.shard_group: {machine.devices} fits, with {show_bytes(memory.needed)} "
                "per device, and keeps gathering, which takes most of the time, within a node"
            )
            return
    yield (
        "most of the time goes into gathering weights; larger batches (tokens_per_batch, or fewer "
        "parts, as a batch is within a part) need fewer steps"
    )


def _ranks(estimate: Estimate) -> Iterator[str]:
    """Stages that leave ranks idle."""
    ranks = estimate.machine.world_size
    for load in estimate.loads:
        if len(load.tasks) >= ranks:
            continue
        idle = ranks - len(load.tasks)
        if load.title == "locate":
            remedy, noun = _more_parts(estimate, ranks), "parts"
        else:
            remedy, noun = "raise evaluate.controls, or ", "conditions"
        yield (
            f"{load.title}: {len(load.tasks)} {noun} leave {idle} of {ranks} devices idle; "
            f"{remedy}use fewer devices"
        )


def _more_parts(estimate: Estimate, ranks: int) -> str:
    """How to have a part for every rank, as the beginning of a sentence; empty if nothing does."""
    stories = estimate.lengths.stories
    groups = {(story.value, story.language, story.stance) for story in stories}
    enough = -(-ranks // len(groups))
    if len(deal(stories, enough)) >= ranks:
        return f"raise locate.parts_per_group to {enough}, or "
    if len(deal(stories, None)) >= ranks:
        return "set locate.parts_per_group to null, or "
    return ""

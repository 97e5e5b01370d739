"""Showing an estimate: as tables, or as JSON."""

import dataclasses
from collections.abc import Sequence
from typing import Any

from rich.console import Console

from vxdist.estimate.assumptions import Assumptions
from vxdist.estimate.attribution import Attribution
from vxdist.estimate.estimate import Estimate
from vxdist.estimate.memory import ITEM_BYTES
from vxdist.estimate.units import show_bytes, show_operations, show_time
from vxdist.estimate.work import Load
from vxstore.cli.output import new_console, print_table, print_title, print_wrapped

MEMORY = {
    "weights": "weights",
    "gathered": "gathered weights",
    "counts": "counts",
    "locate": "activations in locate",
    "evaluate": "activations or logits in evaluate",
    "reserve": "reserve",
    "needed": "needed at most",
    "available": "available",
}
NODE = {"node": "CPU memory per node", "disk": "disk per node, for shards"}


def to_json(estimate: Estimate, advice: Sequence[str], assume: Assumptions) -> dict[str, Any]:
    """The estimate in plain numbers: bytes, tokens, operations, seconds."""
    memory = {
        m.strategy: {**dataclasses.asdict(m), "needed": m.needed, "fits": m.fits}
        for m in estimate.memory
    }
    return {
        "model": {
            "name": estimate.source.name,
            "revision": estimate.source.revision,
            "dtype": estimate.config.model.dtype,
            **dataclasses.asdict(estimate.shape),
            **dataclasses.asdict(estimate.size),
        },
        "machine": dataclasses.asdict(estimate.machine),
        "strategy": estimate.strategy,
        "fits": estimate.chosen.fits,
        "zero3_needed": _needs_zero3(estimate),
        "tokens_from": {
            "locate": estimate.lengths.story_source,
            "evaluate": estimate.lengths.question_source,
        },
        "stages": {load.title: _stage_to_json(load, estimate) for load in estimate.loads},
        "outcomes": {
            load.title: _stage_to_json(load, estimate)
            for load in (estimate.outcomes if len(estimate.outcomes) > 1 else ())
        },
        "memory": memory,
        "attribute": _attribution_to_json(estimate.attribution),
        "store": [dataclasses.asdict(group) for group in estimate.store],
        "advice": list(advice),
        "assumed": dataclasses.asdict(assume),
    }


def _attribution_to_json(of: Attribution | None) -> dict[str, Any] | None:
    if of is None:
        return None
    return {
        "tasks": len(of.load.tasks),
        "texts": of.load.texts,
        "tokens_run": of.load.tokens,
        "largest_batch": [of.load.rows, of.load.width],
        **dataclasses.asdict(of.cost),
        "seconds": of.cost.seconds,
        "needed_with_layers_kept": of.kept,
        "needed_with_layers_computed_again": of.again,
        "checkpointing": of.checkpointing,
        "needed": of.needed,
        "fits": of.fits,
    }


def _stage_to_json(load: Load, estimate: Estimate) -> dict[str, Any]:
    cost = estimate.costs[load.title]
    return {
        "tasks": len(load.tasks),
        "texts": load.texts,
        "text_tokens": load.text_tokens,
        "longest_text": load.longest,
        "tokens_run": load.tokens,
        "batches": sum(task.batches for task in load.tasks),
        "largest_batch": [load.rows, load.width],
        **dataclasses.asdict(cost),
        "seconds": cost.seconds,
    }


def show(estimate: Estimate, advice: Sequence[str], assume: Assumptions) -> None:
    """Print tables, a verdict, advice, and the assumptions."""
    console = new_console()
    machine = estimate.machine
    nodes, devices = machine.nodes, machine.devices
    noun = ("GPU", "GPUs") if machine.kind == "gpu" else ("process", "processes")
    print_title(
        console,
        f"{estimate.source.name} on {nodes} node{'s' * (nodes > 1)} of {devices} "
        f"{noun[devices > 1]} with {show_bytes(machine.memory)} each",
    )
    _show_model(console, estimate)
    _show_work(console, estimate)
    _show_memory(console, estimate)
    _show_store(console, estimate)
    _show_verdict(console, estimate, advice)
    if estimate.attribution is not None:
        print_wrapped(console, _describe_attribution(estimate.attribution))
        console.print()
    print_wrapped(console, _assumptions(estimate, assume))


def _show_model(console: Console, estimate: Estimate) -> None:
    shape, size, dtype = estimate.shape, estimate.size, estimate.config.model.dtype
    experts = f" in {shape.num_experts} experts" if shape.num_experts else ""
    if shape.blocks is not None:
        experts = " at most, in blocks that differ by layer"
    rows = [
        ("architecture", f"{shape.architecture}, {shape.activation}"),
        ("neurons", f"{shape.num_layers} layers x {shape.num_neurons:,}{experts}"),
        (
            "parameters",
            f"{size.parameters:,}: {show_bytes(size.parameters * ITEM_BYTES[dtype])} in {dtype}"
            + (f", unpacked ({shape.packing})" if shape.packing else ""),
        ),
        ("active per token", f"{size.active:,} (excluding embeddings and LM head)"),
    ]
    print_table(console, [("model", False), ("", False)], rows)
    console.print()


def _show_work(console: Console, estimate: Estimate) -> None:
    rows = []
    several = estimate.outcomes if len(estimate.outcomes) > 1 else ()
    for load in (*estimate.loads, *several):
        cost = estimate.costs[load.title]
        rows.append(
            [
                f"- {load.title}" if load in several else load.title,
                _describe_tasks(load, len(several)),
                load.text_tokens,
                load.tokens,
                show_operations(cost.operations),
                show_time(cost.seconds) + (" (gathering)" if cost.waits else ""),
            ]
        )
    header = ("stage", "tasks", "text tokens", "tokens run", "operations", "time")
    print_table(console, [(name, n > 1) for n, name in enumerate(header)], rows)
    console.print()


def _describe_tasks(load: Load, several: int) -> str:
    if load.title == "locate":
        return f"{len(load.tasks):,} parts, {load.texts:,} stories"
    if load.title == "evaluate" and several:
        return f"{len(load.tasks):,} conditions of {several} outcomes"
    return f"{len(load.tasks):,} conditions x {load.texts:,} questions"


def _show_memory(console: Console, estimate: Estimate) -> None:
    device = "GPU" if estimate.machine.kind == "gpu" else "process"
    header = [(f"memory per {device}", False), *((m.strategy, True) for m in estimate.memory)]
    rows = [
        [label, *(_amount(getattr(memory, name)) for memory in estimate.memory)]
        for name, label in MEMORY.items()
    ]
    rows.append(["fits", *("yes" if m.fits else "no" for m in estimate.memory)])
    for name, label in NODE.items():
        if any(getattr(m, name) for m in estimate.memory):
            rows.append([label, *(_amount(getattr(m, name)) for m in estimate.memory)])
    print_table(console, header, rows)
    console.print()


def _amount(count: float) -> str:
    return show_bytes(count) if count else "-"


def _show_store(console: Console, estimate: Estimate) -> None:
    rows: list[list[Any]] = [
        [group.name, show_bytes(group.content), show_bytes(group.on_disk), group.objects]
        for group in estimate.store
    ]
    content, on_disk = (
        sum(getattr(group, name) for group in estimate.store) for name in ("content", "on_disk")
    )
    objects = sum(group.objects for group in estimate.store)
    rows.append(["total", show_bytes(content), show_bytes(on_disk), objects])
    header = (("store", False), ("uncompressed", True), ("on disk", True), ("objects", True))
    print_table(console, header, rows, [False] * (len(rows) - 2) + [True])
    console.print()


def _show_verdict(console: Console, estimate: Estimate, advice: Sequence[str]) -> None:
    chosen = estimate.chosen
    verdict = "fits" if chosen.fits else "does not fit"
    zero3 = "required" if _needs_zero3(estimate) else "not required"
    print_title(
        console,
        f"{estimate.strategy} {verdict}: {show_bytes(chosen.needed)} needed, "
        f"{show_bytes(chosen.available)} available per device; zero3 is {zero3}",
    )
    for line in advice:
        print_wrapped(console, f"- {line}")
    console.print()


def _describe_attribution(of: Attribution) -> str:
    fits = "fits" if of.fits else "does not fit"
    again = ", with layers computed again in the backward pass" if of.checkpointing else ""
    return (
        f"vxdist attribute (optional; a copy of the weights on each device) {fits}: "
        f"{show_bytes(of.needed)} needed{again}; {len(of.load.tasks):,} dilemmas, "
        f"{of.load.texts:,} questions, {show_operations(of.cost.operations)}, "
        f"{show_time(of.cost.seconds)}."
    )


def _needs_zero3(estimate: Estimate) -> bool:
    """Whether a full copy of the weights, with all else, does not fit on one device."""
    return not next(m for m in estimate.memory if m.strategy != "zero3").fits


def _assumptions(estimate: Estimate, assume: Assumptions) -> str:
    machine, lengths = estimate.machine, estimate.lengths
    stories, questions = lengths.story_source, lengths.question_source
    tokens = f"story tokens are {stories}, question tokens are {questions}"
    assumed = [
        f"each device reaches {machine.fraction:.0%} of {machine.flops / 1e12:,.4g} TFLOP/s",
        f"tokens are {stories}" if stories == questions else tokens,
    ]
    if "estimated" in (stories, questions):
        rates = ", ".join(f"{name} {rate:g}" for name, rate in assume.characters_per_token.items())
        assumed.append(f"characters per token: {rates}")
    if "given" in (stories, questions):
        assumed.append(f"text lengths spread by {assume.length_spread:.0%} around their mean")
    if estimate.strategy == "zero3":
        node_link, link = machine.node_link / 1e9, machine.link / 1e9
        assumed.append(
            f"each device gathers weights at {node_link:g} GB/s within a node and {link:g} GB/s "
            "between nodes, while it computes"
        )
    assumed.append(f"counts and scores are compressed to {assume.compression:.0%}")
    return f"Assumed: {'; '.join(assumed)}. Loading, writing and reducing are not included."

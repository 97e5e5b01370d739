"""Locate with compiled layers (`model.compile: layers`) against the eager bare forward.

Every step keeps its own time and, if it fails, its error: the others go on.
"""

import functools
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch._dynamo.utils import counters

from on_gpu.compare import Removable, Ways
from on_gpu.measure import free_memory, median_seconds, seconds_of, shares
from on_gpu.models import make_store, multiplied
from on_gpu.steps import Steps
from vxdist.hooks import compiled
from vxdist.hooks.compiled import CompiledDecoder, compiling
from vxdist.model.hook_points import find_hook_points
from vxdist.plan import Plan

EAGER = ("bare", "bare_unmasked", "locate")
COMPILED = ("bare_compiled", "locate_compiled")
PATIENCE = 110
"""Seconds after which no side measurement is begun."""
ATTEMPTS: tuple[dict[str, Any], ...] = ({}, {"deterministic": False}, {"shape_padding": True})
"""Changed settings of inductor, one after the other until the layers compile."""


class CompiledWays(Ways):
    """Also with compiled layers, and without a mask."""

    masked: bool | None = None
    """Whether the compiled decoder is given a mask; None before it is compiled."""
    difference = 0.0
    """Largest difference of a compiled layer's active counts, as a fraction of their sum."""
    uncompiled = 0
    """Calls of layers that ran uncompiled in the last compiled locate."""

    def bare_unmasked(self) -> None:
        """The eager decoder without a mask, which padding on the right does not need."""
        decoder = self.model.get_decoder()
        for batch in self._ready:
            decoder(input_ids=batch.token_ids_BT, attention_mask=None, use_cache=False)

    def bare_compiled(self) -> None:
        """The compiled decoder without hooks and mask."""
        with torch.compiler.set_stance("eager_on_recompile"):
            self.bare_unmasked()

    def compile_bare(self) -> None:
        """Compile the layers without hooks; after those with, whose code stays."""
        with compiling():
            self.bare_unmasked()

    def prepare_compiled(self) -> Removable:
        """As `prepare`; compiles the layers the first time, and checks their counts."""
        self._stores += 1
        store = str(self._folder / f"{self._stores}.zarr")
        make_store(store, self.plan, self.model.config)
        work = Removable(self.plan, store, compiled=True)
        work.pending()
        work.attach(find_hook_points(self.model.get_decoder()), self.device)
        assert work._counter is not None
        if self.masked is None:
            work.begin(self.model)
            assert work._decoder is not None
            self.masked = work._decoder.masked
            self.difference = work._decoder.difference
        work._decoder = CompiledDecoder(self.model.get_decoder(), work._counter)
        work._decoder.masked = self.masked
        return work

    def products(self) -> None:
        """Only the products with weights, on random numbers of the batches' shapes."""
        linears = [m for m in self.model.get_decoder().modules() if isinstance(m, nn.Linear)]
        for batch in self._ready:
            tokens = batch.token_ids_BT.numel()
            inputs = {
                size: torch.randn(tokens, size, device=self.device).to(linears[0].weight.dtype)
                for size in {m.in_features for m in linears}
            }
            for linear in linears:
                linear(inputs[linear.in_features])


@torch.inference_mode()
def measure_compiled(
    model: Any, plan: Plan, device: torch.device, *, rounds: int, seconds: float, rate: float
) -> dict[str, Any]:
    """All ways in turn, for `rounds` rounds, none of which starts once `seconds` are over."""
    steps, began = Steps(), time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        ways = CompiledWays(model, plan, device, Path(folder))
        settings = _compile(ways, steps)
        with steps.step("compile bare"):
            ways.compile_bare()
        result = _take_turns(ways, steps, rounds, began + seconds, rate)
        settings["uncompiled_calls"] = ways.uncompiled
        settings["largest_difference_of_a_layer"] = round(ways.difference, 6)
        with steps.step("products of a layer"):
            result["products_of_a_layer"] = _products_of_a_layer(ways, rate)
        result["inductor"] = settings
        for name in ("bare", "locate_compiled", "locate", "bare_compiled"):
            if name in result and time.perf_counter() - began < PATIENCE:
                with steps.step(f"profile {name}"):
                    result[name]["profile"] = _profile(ways, name)
        if ways.masked is not None and time.perf_counter() - began < PATIENCE:
            with steps.step("bare_compiled, as measured"):
                result["bare_compiled_as_measured"] = {"seconds": _as_measured(ways)}
    ratios = {
        f"{name}_over_bare": round(result["bare"]["seconds"] / figures["seconds"], 4)
        for name, figures in result.items()
        if name != "bare" and "seconds" in figures and "bare" in result
    }
    return {
        "batches": sum(len(part.batches) for part in plan.parts),
        "tokens": ways.tokens,
        "padding": round(plan.padding, 4),
        "locate_compiled_over_eager_bare": ratios.get("locate_compiled_over_bare"),
        **ratios,
        **result,
        "step_seconds": steps.seconds,
        "errors": steps.errors,
    }


def _compile(ways: CompiledWays, steps: Steps) -> dict[str, Any]:
    """Compile with hooks, as locate does, or with other settings; returns those and what came."""
    known = dict(compiled.INDUCTOR)
    for changed in ATTEMPTS:
        compiled.INDUCTOR.clear()
        compiled.INDUCTOR.update({**known, **changed})
        name = "compile" + "".join(f", {key} {setting}" for key, setting in changed.items())
        with steps.step(name):
            ways.prepare_compiled().remove()
        if ways.masked is not None:
            frames = dict(counters["frames"])
            return {**compiled.INDUCTOR, "masked": ways.masked, "frames_compiled": frames}
        compiled.INDUCTOR.clear()
        compiled.INDUCTOR.update(known)
        for module in ways.model.modules():
            module._forward_hooks.clear()  # of the attempt that failed
        free_memory(ways.device)
    compiled.compile_layers(ways.model.get_decoder())  # the bare one at least
    return {"failed": True}


def _one(ways: CompiledWays, name: str) -> float:
    """Seconds of one way, without its preparation."""
    if name == "locate_compiled":
        work = ways.prepare_compiled()
        try:
            return seconds_of(lambda: ways.locate(work), ways.device)
        finally:
            ways.uncompiled = work._counter.counted.uncompiled if work._counter else -1
            work.remove()
    if name == "bare_compiled":
        return seconds_of(ways.bare_compiled, ways.device)
    with torch.compiler.set_stance("force_eager"):
        if name != "locate":
            run: Callable[[], None] = getattr(ways, name)
            return seconds_of(run, ways.device)
        work = ways.prepare()
        try:
            return seconds_of(lambda: ways.locate(work), ways.device)
        finally:
            work.remove()


def _products_of_a_layer(ways: CompiledWays, rate: float) -> dict[str, Any]:
    """Milliseconds and share of the matrix rate of each product, and of some made in one."""
    tokens = max(batch.token_ids_BT.numel() for batch in ways._ready)
    layer = ways.model.get_decoder().layers[0]
    weights = {
        name.rpartition(".")[2]: module.weight
        for name, module in layer.named_modules()
        if isinstance(module, nn.Linear)
    }
    for names in (("q_proj", "k_proj", "v_proj"), ("gate_proj", "up_proj")):
        weights["+".join(names)] = torch.cat([weights[name] for name in names])
    result = {}
    for name, weight_OI in weights.items():
        input_TI = torch.randn(tokens, weight_OI.shape[1], device=ways.device).to(weight_OI.dtype)
        multiply = functools.partial(nn.functional.linear, input_TI, weight_OI)
        took = median_seconds(multiply, ways.device, 10)
        share = 2 * tokens * weight_OI.numel() / took / rate
        result[name] = {"milliseconds": round(took * 1e3, 3), "share": round(share, 3)}
    return result


def _as_measured(ways: CompiledWays) -> float:
    """Seconds of the compiled decoder without hooks, where torch may choose code by its speed."""
    compiled.INDUCTOR["deterministic"] = False
    compiled.compile_layers(ways.model.get_decoder())
    ways.compile_bare()
    return round(min(_one(ways, "bare_compiled") for _ in range(3)), 4)


def _take_turns(
    ways: CompiledWays, steps: Steps, rounds: int, until: float, rate: float
) -> dict[str, Any]:
    names = [*EAGER, *(COMPILED if ways.masked is not None else COMPILED[:1]), "products"]
    took: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(rounds + 1):
        if turn > 1 and time.perf_counter() > until:
            break
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            if name in steps.errors:
                continue
            with steps.step(name):
                found = _one(ways, name)
                print(f"    {ways.tokens / found:,.0f} tokens/s of", file=sys.stderr, flush=True)
                if turn:  # the first warms up
                    took[name].append(found)
    operations = 2 * multiplied(ways.model.get_decoder()) * ways.ran["bare"]
    return {
        name: {
            "tokens_per_second": round(ways.tokens / statistics.median(times), 1),
            "share_of_matrix_rate": round(operations / statistics.median(times) / rate, 4),
            "seconds": round(statistics.median(times), 4),
            "rounds": [round(time, 4) for time in times],
        }
        for name, times in took.items()
        if times
    }


def _profile(ways: CompiledWays, name: str) -> dict[str, Any]:
    if name == "locate_compiled":
        work = ways.prepare_compiled()
        try:
            return shares(lambda: _again(ways, work), ways.device)
        finally:
            work.remove()
    if name == "bare_compiled":
        return shares(ways.bare_compiled, ways.device)
    with torch.compiler.set_stance("force_eager"):
        if name == "bare":
            return shares(ways.bare, ways.device)
        work = ways.prepare()
        try:
            return shares(lambda: _again(ways, work), ways.device)
        finally:
            work.remove()


def _again(ways: CompiledWays, work: Removable) -> None:
    """Locate's steps without what is written, which can be written only once."""
    for batch in ways._ready:
        work.step(ways.model, batch)
    assert work._counter is not None
    work._counter.take()

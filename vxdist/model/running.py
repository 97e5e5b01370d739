"""Which runner a block has, and putting it in place of the module's own forward function."""

import weakref
from collections.abc import Iterable
from typing import Any

from torch import nn

from vxdist.model.blocks import Block
from vxdist.model.gates import find_gate
from vxdist.model.inline import find_inline
from vxdist.model.runners import EveryExpert, GroupedExperts, InTurn, Runner


def find_runner(module: Any, around: Any, activation: Any = None) -> Runner | None:
    """What runs a block, within a module around it; None if what it computes is not known.

    `activation` is the module of the activation function of experts that run one by one.
    """
    if type(module).__name__ == "Llama4TextExperts":
        return EveryExpert(around)
    if isinstance(getattr(module, "down_proj", None), nn.Parameter):
        gate = None if getattr(module, "has_post_expert_norm", False) else find_gate(module)
        return None if gate is None else GroupedExperts(module, gate)
    if hasattr(module, "num_experts"):
        return None if activation is None else InTurn(module, activation)
    return find_inline(module)


_runners: "weakref.WeakKeyDictionary[nn.Module, Runner | None]" = weakref.WeakKeyDictionary()


def runner_of(
    module: nn.Module, around: nn.Module, activation: nn.Module | None = None
) -> Runner | None:
    """The runner of a block, which stays the same as long as the module lives."""
    if module not in _runners:
        _runners[module] = find_runner(module, around, activation)
    return _runners[module]


class Running:
    """A module's forward function is a runner's, until the last of these is removed."""

    def __init__(self, runner: Runner) -> None:
        self._own = vars(runner.module)
        # accelerate's forward, on an instance too, moves tensors and calls the module's own.
        self._name = "_old_forward" if "_old_forward" in self._own else "forward"
        before = self._own.get(self._name)
        if not isinstance(before, _Bound):
            before = self._own[self._name] = _Bound(runner, before)
        before.users += 1

    def remove(self) -> None:
        """Give the module its own back if nobody else needs the runner's."""
        bound = self._own[self._name]
        bound.users -= 1
        if bound.users:
            return
        if bound.before is None:
            del self._own[self._name]
        else:
            self._own[self._name] = bound.before


class _Bound:
    def __init__(self, runner: Runner, before: Any) -> None:
        self.before, self.users = before, 0
        self._runner = runner

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._runner(*args, **kwargs)


def run_always(blocks: Iterable[Block]) -> None:
    """Have blocks run as they do while they are watched, for as long as the model lives."""
    for block in blocks:
        if block.runner is not None:
            Running(block.runner)

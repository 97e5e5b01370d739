"""Decoder layers that torch compiles, with the counting of their activations inside.

What is no product (norms, rotary embeddings, residuals, the product with the up projection) is
fused, and all layers share the code of one.

B: text, T: token, N: neuron, L: layer.
"""

import contextlib
import importlib.util
import os
import shutil
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import nn

from vxdist.errors import Stopped, UserError
from vxdist.hooks.attach_compiled import Counted
from vxdist.model.decoder import find_layers

BACKEND = "inductor"
DYNAMO = {
    "recompile_limit": 32,  # variants of a layer's code that are kept, of all models together
    "skip_nnmodule_hook_guards": False,
    "force_nn_module_property_static_shapes": False,  # the tokens that count hang on a module
    "specialize_float": True,  # epsilon and its like, which else are tensors on the CPU
}
"""Settings of what traces the code."""
SHAPES = {"use_duck_shape": False}
"""Numbers of rows and columns that happen to be equal in an example need not be in a batch."""
INDUCTOR = {"compile_threads": 1, "shape_padding": False, "deterministic": True}
"""Settings of what compiles it. Of all of these, the installed torch may lack some."""
TOLERANCE = 0.05
"""Largest difference of a layer's active counts from the eager ones, as a fraction of their sum,
beside what `FLIPPED` allows. A fault makes half of the sum and more."""
FLIPPED = 0.02
"""Largest fraction of activations so near to zero that rounding, in bfloat16, changes their sign:
some up, some down, so that over T tokens a count changes by the root of FLIPPED x T."""
TEXT, LATER = (1, 2, 3, 5), ((1, 1, 1), (5, 3, 2))
"""Tokens of the test of causality: any will do, but what comes later must differ."""


@dataclass(frozen=True, kw_only=True)
class Example:
    """A batch to compile for, padded on the right."""

    token_ids_BT: torch.Tensor
    attention_mask_BT: torch.Tensor
    counted_BT: torch.Tensor


class Counting(Protocol):
    """What is used of a counter."""

    counted: Counted

    def count(self, counted_BT: torch.Tensor | None) -> None:
        """Set which tokens of the next forward passes count."""

    def take(self) -> Any:
        """What was counted since the last time."""


class CompiledDecoder:
    """Runs a decoder whose layers are compiled for some examples.

    Batches that their code does not fit run uncompiled, so that which batches come first decides
    nothing.
    """

    def __init__(self, decoder: nn.Module, counter: Counting) -> None:
        """`counter` watches the decoder."""
        self._decoder, self._counter = decoder, counter
        self.difference = 0.0
        """Largest difference found of a layer's active counts, as a fraction of their sum."""
        self.masked = True
        """Whether the decoder is given a mask. Where no token sees later ones, padding on the right
        needs none, and without one attention is quicker."""

    def __call__(self, token_ids_BT: torch.Tensor, attention_mask_BT: torch.Tensor) -> None:
        """Run a batch, padded on the right. Warns once if it has to run uncompiled."""
        before = self._counter.counted.uncompiled
        with torch.compiler.set_stance("eager_on_recompile"):
            self._run(token_ids_BT, attention_mask_BT)
        if self._counter.counted.uncompiled != before:
            warnings.warn("model.compile: some batches fit no compiled code", stacklevel=2)

    def _run(self, token_ids_BT: torch.Tensor, attention_mask_BT: torch.Tensor) -> None:
        # Copies, since in inference mode tensors differ by the mode of the thread that made them.
        mask_BT = attention_mask_BT.clone() if self.masked else None
        self._decoder(input_ids=token_ids_BT.clone(), attention_mask=mask_BT, use_cache=False)

    def prepare(self, examples: Sequence[Example]) -> None:
        """Compile the layers for the examples, and verify that they count as before.

        Raises UserError if torch cannot compile them, or a layer's counts differ by more than
        rounding explains.
        """
        with torch.compiler.set_stance("force_eager"):
            expected = [self._count(example) for example in examples]
            self._counter.count(None)
            self.masked = not is_causal(self._decoder)
        with compiling():
            compile_layers(self._decoder)
            for example, expected_LN in zip(examples, expected, strict=True):
                try:
                    found_LN = self._count(example)
                except (Stopped, UserError, torch.OutOfMemoryError):
                    raise
                except Exception as error:  # whatever torch and the compilers make of it
                    raise UserError(
                        f"model.compile: layers: torch could not compile a layer of "
                        f"{type(self._decoder).__name__}: {_line(error)}; use model.compile: none"
                    ) from error
                tokens = int(example.counted_BT.sum())
                difference = _compare(found_LN, expected_LN, tokens)
                self.difference = max(self.difference, difference)

    def _count(self, example: Example) -> Any:
        """Active counts of an example, (layer, neuron)."""
        self._counter.count(example.counted_BT)
        self._run(example.token_ids_BT, example.attention_mask_BT)
        return self._counter.take().statistics["active_count"].astype(np.int64)


def _compare(found_LN: Any, expected_LN: Any, tokens: int) -> float:
    """The largest difference of a layer. Raises UserError if it is more than rounding explains."""
    difference_L = np.abs(found_LN - expected_LN).sum(1)
    active_L = np.maximum(expected_LN.sum(1), 1)
    allowed_L = TOLERANCE * active_L + expected_LN.shape[1] * (FLIPPED * tokens) ** 0.5
    if (difference_L > allowed_L).any():
        layer = int((difference_L > allowed_L).argmax())
        share, allowed = difference_L[layer] / active_L[layer], allowed_L[layer] / active_L[layer]
        raise UserError(
            f"model.compile: layers: the compiled layer {layer} counts otherwise than the model "
            f"does (by {share:.0%}, expected less than {allowed:.0%} by rounding); use "
            "model.compile: none"
        )
    return float((difference_L / active_L).max())


@torch.no_grad()
def is_causal(decoder: nn.Module) -> bool:
    """Whether, without a mask, no bit of a token's output depends on later tokens."""
    device = next(decoder.parameters()).device
    outputs = []
    for later in LATER:
        token_ids_BT = torch.tensor([[*TEXT, *later]] * 2, device=device)
        output: Any = decoder(input_ids=token_ids_BT, attention_mask=None, use_cache=False)
        outputs.append(output[0][:, : len(TEXT)])
    return torch.equal(*outputs)


def compile_layers(decoder: nn.Module) -> None:
    """Have the layers compiled, when they are first called, for any number of texts and tokens."""
    torch._dynamo.reset()  # what is left of another model in this process
    layers: Any = find_layers(decoder)
    for layer in layers:
        layer.compile(backend=BACKEND, dynamic=True)


@contextlib.contextmanager
def compiling() -> Iterator[None]:
    """Settings under which code is compiled whose bits do not depend on the moment.

    Nothing that decides bits is chosen by measured time; no processes of its own, which a signal
    would reach; hooks are looked at before code is used again.
    """
    import torch._dynamo.config as of_dynamo
    import torch._inductor.config as of_inductor
    import torch.fx.experimental._config as of_shapes

    with contextlib.ExitStack() as stack:
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        for module, settings in ((of_dynamo, DYNAMO), (of_inductor, INDUCTOR), (of_shapes, SHAPES)):
            known = {key: setting for key, setting in settings.items() if hasattr(module, key)}
            patch: Any = module.patch
            stack.enter_context(patch(known))
        yield


def check_compiler(accelerator: str) -> None:
    """Raise UserError if what compiles code for this accelerator is not there."""
    if accelerator == "gpu":
        if importlib.util.find_spec("triton") is None:
            raise UserError(
                "model.compile: layers needs Triton, which is not installed; it comes with the "
                "CUDA builds of torch; or use model.compile: none"
            )
        if not (os.environ.get("CC") or shutil.which("gcc") or shutil.which("clang")):
            raise UserError(
                "model.compile: layers needs a C compiler, and there is no gcc or clang here; "
                "install one, or use model.compile: none"
            )
        return
    try:
        with compiling():
            torch.compile(_tried, backend=BACKEND)(torch.ones(8))
    except Exception as error:  # whatever torch and the compiler make of it
        raise UserError(
            f"model.compile: layers needs a C++ compiler that works: {_line(error)}; install g++, "
            "or use model.compile: none"
        ) from error


def _tried(number_8: torch.Tensor) -> torch.Tensor:
    return number_8 * 2 + 1


def _line(error: BaseException) -> str:
    """The type of an error and its first line."""
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"[:200]

"""What all ranks must have in common, compared before anything is loaded.

Ranks on several machines may read other copies of the corpus or the model, other settings, or
other packages; what they record would be mixed without a word.
"""

import importlib.metadata
import os
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from vxdist.config import Config
from vxdist.model.source import ModelSource

PACKAGES = (
    "vxdist",
    "transformers",
    "tokenizers",
    "safetensors",
    "lightning",
    "deepspeed",
    "triton",
    "zarr",
    "numpy",
)
ROUNDING = ("torch", "transformers")
"""Packages with the code of the model, and of its arithmetic."""
TRAINER = ("accelerator", "offload", "shard_group", "threads")
VARIABLES = (
    "NVIDIA_TF32_OVERRIDE",
    "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE",
    "CUBLAS_WORKSPACE_CONFIG",
    "ATEN_CPU_CAPABILITY",
    "MKL_CBWR",
)
"""Environment variables that decide how torch rounds."""
LABELS = {
    "model_fingerprint": "the model's files (model_fingerprint)",
    "model_digest": "the model's files (model_digest)",
    "corpus_digest": "the stories of the corpus (corpus_digest)",
    "evaluation_digest": "the dilemmas of the corpus (evaluation_digest)",
    "selection_digest": "the neurons to ablate (selection_digest)",
    "plan_digest": "the tokens of the stories (plan_digest)",
    "questions_digest": "the tokens of the questions (questions_digest)",
}
CONSEQUENCES = ("plan_digest", "questions_digest")
"""Facts that differ because another does."""
SHOWN = 40
"""Characters of a fact that are shown."""
SHOWN_FACTS, SHOWN_RANKS = 3, 3

Facts = Mapping[str, str]
"""What one rank has: name to value."""
Ranks = Sequence[tuple[str, Facts]]
"""Name and facts of each rank, in the order of ranks."""


def gather_facts(config: Config, kind: str, source: ModelSource, stage: Mapping[str, Any]) -> Facts:
    """What decides the numbers of this rank; `kind` is its strategy, `stage` the stage's part."""
    settings = {f"trainer.{key}": getattr(config.trainer, key) for key in TRAINER}
    versions = {f"the package {name}": _version(name) for name in PACKAGES}
    variables = {f"the variable {name}": os.environ.get(name) for name in VARIABLES}
    return {
        "model_fingerprint": source.fingerprint,
        "model.dtype": config.model.dtype,
        "model.compile": config.model.compile,
        **_flatten(stage),
        "trainer.strategy": kind,
        **{name: str(found) for name, found in settings.items()},
        "store": config.store,
        **versions,
        "the package torch": torch.__version__,
        **{name: str(found) for name, found in variables.items()},
    }


def describe_computation(config: Config, kind: str) -> dict[str, Any]:
    """What decides how numbers are rounded, in a store or an evaluation; `kind` is the strategy.

    The same on any number of processes. A thread or a GPU of another kind may round differently
    too: see decisions/011-identity.md.
    """
    return {
        "accelerator": config.trainer.accelerator,
        "sharded": kind == "zero3",
        **{name: _version(name) for name in ROUNDING},
    }


def describe_hardware(config: Config, device: torch.device) -> str:
    """What kind of device this rank computes on."""
    if config.trainer.accelerator == "gpu":
        return torch.cuda.get_device_name(device)
    return f"CPU ({torch.backends.cpu.get_cpu_capability()})"


def exchange(name: str, facts: Facts) -> Ranks:
    """The facts of all ranks, through the process group."""
    found: list[Any] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(found, (name, dict(facts)))
    return found


def find_difference(ranks: Ranks) -> str | None:
    """A line that names the ranks that differ from rank 0, and in what; None if none does."""
    first, expected = ranks[0]
    lines = []
    for name, facts in ranks[1:]:
        differ = [key for key in {**expected, **facts} if facts.get(key) != expected.get(key)]
        own = [key for key in differ if key not in CONSEQUENCES] or differ
        if own:
            shown = [
                f"{LABELS.get(key, key)}: {_cut(facts.get(key))} there, {_cut(expected.get(key))} "
                f"on {first}"
                for key in own[:SHOWN_FACTS]
            ]
            more = [f"{len(own) - SHOWN_FACTS} more"] if len(own) > SHOWN_FACTS else []
            lines.append(f"{name} differs in {'; '.join(shown + more)}")
    if not lines:
        return None
    others = len(lines) - SHOWN_RANKS
    more = [f"{others} more ranks differ"] if others > 0 else []
    return (
        f"{'; '.join(lines[:SHOWN_RANKS] + more)}. Give all ranks the same files, settings and "
        "packages; nothing was recorded"
    )


def _flatten(mapping: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    found: dict[str, str] = {}
    for key, item in mapping.items():
        if isinstance(item, Mapping):
            found |= _flatten(item, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = str(item)
    return found


def _cut(text: str | None) -> str:
    text = " ".join(str(text).split())
    return text if len(text) <= SHOWN else f"{text[: SHOWN // 2]}…"


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"

"""The settings of ZeRO-3: what is refused, and the configuration that DeepSpeed is given.

Each rank holds a shard of every weight, gathered layer by layer as the layers run.
"""

import functools
import importlib.util
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vxdist.config import TrainerConfig
from vxdist.errors import UserError

if TYPE_CHECKING:
    from torch import nn

LIVE_LAYERS = 2
"""Decoder layers whose gathered weights a rank holds at once: the one that runs, and the next."""
SWAP_BUFFERS = 8
"""Shards read from disk that a rank holds in CPU memory: those of one layer, and one to spare."""
AIO = {
    "block_size": 1 << 20,
    "queue_depth": 32,
    "intra_op_parallelism": 4,
    "single_submit": False,
    "overlap_events": True,
}
"""How DeepSpeed reads from disk: large blocks, many requests at once."""


def check_zero3(config: TrainerConfig, *, devices: int) -> None:
    """Check the settings of zero3 against each other and against the machine.

    `devices` is the number of ranks per node. Raises UserError, naming the setting.
    """
    if config.strategy != "zero3":
        used = {"offload": config.offload != "none", "shard_group": config.shard_group is not None}
        for key in (key for key, is_used in used.items() if is_used):
            raise UserError(
                f"trainer.{key}: {getattr(config, key)} needs sharded weights; add "
                f"trainer.strategy: zero3 (found {config.strategy}), or omit it"
            )
        return
    if importlib.util.find_spec("deepspeed") is None:
        raise UserError(
            "trainer.strategy: zero3 needs DeepSpeed; run `pip install 'vxdist[zero3]'`"
        )
    choose_device(config.accelerator)
    if config.offload == "nvme":
        _check_disk(config)
    check_shard_group(config.shard_group, devices)


def check_sharded(kind: str, name: str, packing: str | None) -> None:
    """Raise UserError if the model `name` has packed weights, and `kind`, the strategy, is zero3.

    `packing` is how they are packed. transformers cuts shards from whole tensors, as it finds them.
    """
    if kind == "zero3" and packing is not None:
        raise UserError(
            f"model.path: {name} has packed weights ({packing}), which trainer.strategy: zero3 "
            "cannot shard; use the unpacked model, or another strategy"
        )


def check_shard_group(group: int | None, devices: int) -> None:
    """Raise UserError unless trainer.shard_group divides the number of ranks per node."""
    if group is not None and (group < 2 or devices % group):
        raise UserError(
            f"trainer.shard_group: {group} must be 2 or more and divide the {devices} ranks of a "
            "node; for a full copy on every rank use trainer.strategy: ddp"
        )


def _check_disk(config: TrainerConfig) -> None:
    path = config.offload_path
    if path is None:
        raise UserError(
            "trainer.offload: nvme needs trainer.offload_path, a folder on a fast local disk"
        )
    if not Path(path).is_dir() or not os.access(path, os.W_OK):
        raise UserError(f"trainer.offload_path: {path} is not a writable folder on this machine")
    if config.shard_group is not None:
        raise UserError(
            "trainer.shard_group: with trainer.offload: nvme DeepSpeed cannot keep a copy within "
            "a node; omit one of the two"
        )
    if not _has_async_io():
        raise UserError(
            "trainer.offload: nvme needs DeepSpeed's async_io, which cannot be built here: "
            "install libaio with its headers (libaio-dev or libaio-devel) and a C++ compiler, or "
            "use trainer.offload: cpu"
        )


@functools.cache
def _has_async_io() -> bool:
    """Whether a program that calls libaio compiles and links on this machine."""
    from deepspeed.ops.op_builder import AsyncIOBuilder

    return bool(AsyncIOBuilder().is_compatible(verbose=False))


def choose_device(accelerator: str) -> None:
    """Make DeepSpeed use the CPU if asked to, even beside a GPU. Call this before importing it."""
    if accelerator == "cpu":
        os.environ["DS_ACCELERATOR"] = "cpu"


def zero3_settings(config: TrainerConfig, dtype: str, *, world_size: int) -> dict[str, Any]:
    """DeepSpeed's configuration for inference with sharded weights, for any model."""
    zero: dict[str, Any] = {
        "stage": 3,
        # A forward pass uses a weight once; tied embeddings are gathered twice rather than kept.
        "stage3_max_reuse_distance": 0,
        # One buffer per weight: weights are copied out of a common one, which doubles the peak.
        "stage3_allgather_sequential": True,
    }
    if config.offload != "none":
        # A GPU can read page-locked memory while it computes; on a CPU it has no use.
        pinned = config.accelerator == "gpu"
        zero["offload_param"] = {"device": config.offload, "pin_memory": pinned}
    if config.offload == "nvme":
        zero["offload_param"] |= {
            "nvme_path": tempfile.mkdtemp(prefix="vxdist-", dir=config.offload_path),
            "buffer_count": SWAP_BUFFERS,
        }
    if config.shard_group is not None and config.shard_group < world_size:
        zero["zero_hpz_partition_size"] = config.shard_group
    return {
        "train_micro_batch_size_per_gpu": 1,  # DeepSpeed requires it, though nothing trains
        "zero_allow_untested_optimizer": True,
        "zero_optimization": zero,
        "bf16": {"enabled": dtype == "bfloat16"},
        "fp16": {"enabled": dtype == "float16"},
        "aio": AIO,
    }


def fit_settings(settings: dict[str, Any], model: "nn.Module", *, world_size: int) -> None:
    """Add the settings that depend on the model's shapes, in elements; `model` needs no weights."""
    from torch import nn

    weights = list(model.parameters())
    blocks = [block for m in model.modules() if isinstance(m, nn.ModuleList) for block in m]
    layer = max(sum(p.numel() for p in block.parameters()) for block in blocks)
    zero = settings["zero_optimization"]
    zero |= {
        # Norms and biases stay whole on every rank: they are small, and each gather takes time.
        "stage3_param_persistence_threshold": max(p.numel() for p in weights if p.dim() == 1),
        "stage3_prefetch_bucket_size": layer,
        "stage3_max_live_parameters": LIVE_LAYERS * layer,
    }
    if "nvme_path" in zero.get("offload_param", {}):
        largest = max(p.numel() for p in weights)
        zero["offload_param"]["buffer_size"] = -(-largest // world_size)

"""ZeRO-3: each rank holds a shard of every weight, gathered layer by layer as they run.

Every number given to DeepSpeed stands here. See decisions/003-zero3-on-cpu.md for why Lightning's
strategy is adapted.
"""

import contextlib
import ctypes
import datetime
import functools
import gc
import importlib.util
import logging
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.utilities.seed import reset_seed
from lightning.pytorch.plugins import Precision
from lightning.pytorch.strategies import DDPStrategy, DeepSpeedStrategy, Strategy
from torch import nn

from vxdist.config import TrainerConfig
from vxdist.errors import UserError
from vxdist.model.load import build_without_weights
from vxdist.model.source import ModelSource

LIVE_LAYERS = 2
"""Decoder layers whose gathered weights a rank holds at once: one runs, the next is fetched."""
SWAP_BUFFERS = 8
"""Shards read from disk that a rank holds in CPU memory: one layer's weights, and one to spare."""
AIO = {
    "block_size": 1 << 20,
    "queue_depth": 32,
    "intra_op_parallelism": 4,
    "single_submit": False,
    "overlap_events": True,
}
"""How DeepSpeed reads from disk: large blocks, many under way at once."""
MMAP_THRESHOLD, M_MMAP_THRESHOLD = 1 << 16, -3
"""Bytes from which freed CPU memory goes back to the system, and glibc's name for the setting."""


def check_zero3(config: TrainerConfig, *, devices: int) -> None:
    """Refuse what the settings of zero3 ask for and the machine cannot do.

    `devices` is the number of ranks of a node. Raises UserError, naming the setting.
    """
    if config.strategy != "zero3":
        asked = {"offload": config.offload != "none", "shard_group": config.shard_group is not None}
        for key in (key for key, is_asked in asked.items() if is_asked):
            raise UserError(
                f"trainer.{key}: {getattr(config, key)} is for sharded weights only; add "
                f"trainer.strategy: zero3 (found {config.strategy}), or leave it out"
            )
        return
    if importlib.util.find_spec("deepspeed") is None:
        raise UserError(
            "trainer.strategy: zero3 needs DeepSpeed; run `pip install 'vxdist[zero3]'`"
        )
    _choose_device(config.accelerator)
    if config.offload == "nvme":
        _check_disk(config)
    group = config.shard_group
    if group is not None and (group < 2 or devices % group):
        raise UserError(
            f"trainer.shard_group: {group} must be 2 or more and divide the {devices} ranks of a "
            "node; for a whole copy on every rank use trainer.strategy: ddp"
        )


def _check_disk(config: TrainerConfig) -> None:
    path = config.offload_path
    if path is None:
        raise UserError(
            "trainer.offload: nvme needs trainer.offload_path, a folder on a fast local disk"
        )
    if not Path(path).is_dir() or not os.access(path, os.W_OK):
        raise UserError(f"trainer.offload_path: {path} is no folder that can be written here")
    if config.shard_group is not None:
        raise UserError(
            "trainer.shard_group: with trainer.offload: nvme DeepSpeed cannot keep a copy within "
            "a node; leave one of the two out"
        )
    if not _has_async_io():
        raise UserError(
            "trainer.offload: nvme needs DeepSpeed's async_io, which cannot be built here: "
            "install libaio with its headers (libaio-dev or libaio-devel) and a C++ compiler, or "
            "use trainer.offload: cpu"
        )


@functools.cache
def _has_async_io() -> bool:
    """Whether a program that calls libaio compiles and links here."""
    from deepspeed.ops.op_builder import AsyncIOBuilder

    return bool(AsyncIOBuilder().is_compatible(verbose=False))


def _choose_device(accelerator: str) -> None:
    """Keep DeepSpeed to the CPU on request, though there be a GPU; before it is imported."""
    if accelerator == "cpu":
        os.environ["DS_ACCELERATOR"] = "cpu"


def zero3_settings(config: TrainerConfig, dtype: str, *, world_size: int) -> dict[str, Any]:
    """DeepSpeed's configuration for inference with sharded weights, of any model."""
    zero: dict[str, Any] = {
        "stage": 3,
        # A forward pass needs a weight once; tied embeddings are gathered twice rather than kept.
        "stage3_max_reuse_distance": 0,
        # Each weight into its own buffer: a common one is copied out of, and doubles the peak.
        "stage3_allgather_sequential": True,
    }
    if config.offload != "none":
        # Page-locked memory is what a GPU reads while it computes; a CPU has no use for it.
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
        "train_micro_batch_size_per_gpu": 1,  # without it DeepSpeed does not start; nothing trains
        "zero_allow_untested_optimizer": True,
        "zero_optimization": zero,
        "bf16": {"enabled": dtype == "bfloat16"},
        "fp16": {"enabled": dtype == "float16"},
        "aio": AIO,
    }


def fit_settings(settings: dict[str, Any], model: nn.Module, *, world_size: int) -> None:
    """Fill in what depends on the model's shapes; `model` needs no weights. Counts in elements."""
    weights = list(model.parameters())
    blocks = [block for m in model.modules() if isinstance(m, nn.ModuleList) for block in m]
    layer = max(sum(p.numel() for p in block.parameters()) for block in blocks)
    zero = settings["zero_optimization"]
    zero |= {
        # Norms and biases stay whole on every rank: they weigh nothing, and each gather takes time.
        "stage3_param_persistence_threshold": max(p.numel() for p in weights if p.dim() == 1),
        "stage3_prefetch_bucket_size": layer,
        "stage3_max_live_parameters": LIVE_LAYERS * layer,
    }
    if "nvme_path" in zero.get("offload_param", {}):
        largest = max(p.numel() for p in weights)
        zero["offload_param"]["buffer_size"] = -(-largest // world_size)


def make_zero3(
    config: TrainerConfig,
    dtype: str,
    *,
    backend: str,
    timeout: datetime.timedelta,
    world_size: int,
) -> DeepSpeedStrategy:
    """Lightning's DeepSpeed strategy, on GPUs or CPUs, of settings that `check_zero3` passed."""
    _choose_device(config.accelerator)
    kind = ShardedStrategy if config.accelerator == "gpu" else CpuShardedStrategy
    settings = zero3_settings(config, dtype, world_size=world_size)
    return kind(
        config=settings,
        process_group_backend=backend,
        timeout=timeout,
        logging_level=logging.ERROR,  # its warnings are of training
    )


class ShardedStrategy(DeepSpeedStrategy):
    """DeepSpeed for a model that `from_pretrained` has cut into shards already."""

    @contextlib.contextmanager
    def model_sharded_context(self) -> Iterator[None]:
        """Leave the sharding to `shard_while_loading`; doing both, DeepSpeed refuses hpZ."""
        yield

    @property
    def precision_plugin(self) -> Precision:
        """One that changes nothing: Lightning's would call every shard float32."""
        return Precision()

    @precision_plugin.setter
    def precision_plugin(self, _: Precision | None) -> None:
        pass

    def teardown(self) -> None:
        """Take the shards off the disk, too."""
        super().teardown()
        offload = self.settings["zero_optimization"].get("offload_param", {})
        if "nvme_path" in offload:
            shutil.rmtree(offload["nvme_path"], ignore_errors=True)

    @property
    def settings(self) -> dict[str, Any]:
        """DeepSpeed's configuration."""
        assert isinstance(self.config, dict)
        return self.config


class CpuShardedStrategy(ShardedStrategy):
    """The same on CPUs, which Lightning refuses though DeepSpeed does not."""

    def setup_environment(self) -> None:
        """Skip the check for CUDA, and no more."""
        DDPStrategy.setup_environment(self)

    def setup_distributed(self) -> None:
        """Skip the check of CUDA device numbers, and no more."""
        import deepspeed

        # Else it compiles operators that are of no use here, at every first start.
        deepspeed.ops.__compatible_ops__ = {}
        reset_seed()
        self.set_world_ranks()
        self._init_deepspeed_distributed()

    @property
    def root_device(self) -> torch.device:
        """The CPU, with the index that DeepSpeed asks for."""
        return torch.device("cpu", 0)


@contextlib.contextmanager
def shard_while_loading(strategy: Strategy, source: ModelSource) -> Iterator[None]:
    """Within, `from_pretrained` keeps this rank's shard of each weight, and no more.

    Rank 0 alone reads values, from files mapped into memory. Raises UserError if the weights are
    packed, which cannot be sharded.
    """
    from transformers.integrations.deepspeed import HfDeepSpeedConfig, unset_hf_deepspeed_config

    assert isinstance(strategy, ShardedStrategy)
    model = build_without_weights(source)
    _refuse_packed(model.config, source)
    fit_settings(strategy.settings, model, world_size=strategy.world_size)
    if strategy.root_device.type == "cpu":
        _give_memory_back()
    sharding = HfDeepSpeedConfig(strategy.settings)  # transformers keeps a weak reference only
    try:
        yield
    finally:
        del sharding
        unset_hf_deepspeed_config()
        gc.collect()  # the head that tied weights replaced refers to itself


def _refuse_packed(config: Any, source: ModelSource) -> None:
    packing = getattr(config, "quantization_config", None)
    if packing is not None:
        method = packing.get("quant_method") if isinstance(packing, dict) else packing.quant_method
        raise UserError(
            f"model.path: {source.name} has packed weights ({method}), which "
            "trainer.strategy: zero3 cannot shard; take the unpacked model, or another strategy"
        )


def _give_memory_back() -> None:
    """Have freed weights go back to the system while shards are kept.

    Whole weights come and go between shards that stay; left alone, glibc would keep the holes,
    and a rank grow to the size of the model.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, MMAP_THRESHOLD)

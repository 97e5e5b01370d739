"""ZeRO-3: Lightning's DeepSpeed strategy, adapted, and loading a model in shards.

See decisions/003-zero3-on-cpu.md for the reasons.
"""

import contextlib
import ctypes
import datetime
import gc
import logging
import shutil
import sys
from collections.abc import Iterator
from typing import Any

import torch
from lightning.fabric.utilities.seed import reset_seed
from lightning.pytorch.plugins import Precision
from lightning.pytorch.strategies import DDPStrategy, DeepSpeedStrategy, Strategy

from vxdist.config import TrainerConfig
from vxdist.model.load import build_without_weights
from vxdist.model.source import ModelSource
from vxdist.runtime.meeting import meet_ranks
from vxdist.runtime.zero3 import choose_device, fit_settings, zero3_settings

MMAP_THRESHOLD, M_MMAP_THRESHOLD = 1 << 16, -3
"""Size in bytes above which freed CPU memory is returned to the system, and glibc's number for
the setting."""


def make_zero3(
    config: TrainerConfig,
    dtype: str,
    *,
    backend: str,
    timeout: datetime.timedelta,
    world_size: int,
) -> DeepSpeedStrategy:
    """Lightning's DeepSpeed strategy, on GPUs or CPUs, for settings that passed `check_zero3`."""
    choose_device(config.accelerator)
    kind = ShardedStrategy if config.accelerator == "gpu" else CpuShardedStrategy
    settings = zero3_settings(config, dtype, world_size=world_size)
    strategy = kind(
        config=settings,
        process_group_backend=backend,
        timeout=timeout,
        logging_level=logging.ERROR,  # its warnings are about training
    )
    strategy.meet_timeout = config.meet_timeout
    return strategy


class ShardedStrategy(DeepSpeedStrategy):
    """DeepSpeed for a model that `from_pretrained` has already cut into shards."""

    meet_timeout = TrainerConfig.meet_timeout

    @contextlib.contextmanager
    def model_sharded_context(self) -> Iterator[None]:
        """Do nothing: `shard_while_loading` shards, and with both DeepSpeed refuses hpZ."""
        yield

    @property
    def precision_plugin(self) -> Precision:
        """A plugin that changes nothing: Lightning's would declare every shard float32."""
        return Precision()

    @precision_plugin.setter
    def precision_plugin(self, _: Precision | None) -> None:
        pass

    def setup_distributed(self) -> None:
        """Meet first."""
        self.meet()
        super().setup_distributed()

    def meet(self) -> None:
        """Wait for the other ranks."""
        self.set_world_ranks()
        self._met = meet_ranks(self, self.meet_timeout)

    def teardown(self) -> None:
        """Also remove the shards from disk."""
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
    """The same on CPUs, which DeepSpeed supports but Lightning refuses."""

    def setup_environment(self) -> None:
        """Skip only Lightning's check for CUDA."""
        DDPStrategy.setup_environment(self)

    def setup_distributed(self) -> None:
        """Skip only Lightning's check of CUDA device numbers."""
        import deepspeed

        # Otherwise it compiles operators that are not used here when it first starts.
        deepspeed.ops.__compatible_ops__ = {}
        reset_seed()
        self.meet()
        self._init_deepspeed_distributed()

    @property
    def root_device(self) -> torch.device:
        """The CPU, with the index that DeepSpeed requires."""
        return torch.device("cpu", 0)


@contextlib.contextmanager
def shard_while_loading(strategy: Strategy, source: ModelSource) -> Iterator[None]:
    """Within this context `from_pretrained` keeps only this rank's shard of each weight.

    Only rank 0 reads values, from files mapped into memory. The weights are not packed: see
    `check_sharded`.
    """
    from transformers.integrations.deepspeed import HfDeepSpeedConfig, unset_hf_deepspeed_config

    assert isinstance(strategy, ShardedStrategy)
    model = build_without_weights(source)
    fit_settings(strategy.settings, model, world_size=strategy.world_size)
    if strategy.root_device.type == "cpu":
        _return_freed_memory()
    sharding = HfDeepSpeedConfig(strategy.settings)  # transformers keeps only a weak reference
    try:
        yield
    finally:
        del sharding
        unset_hf_deepspeed_config()
        gc.collect()  # the head that tied weights replaced is a reference cycle


def _return_freed_memory() -> None:
    """Make glibc return the memory of freed weights to the system while shards are kept.

    Whole weights are allocated and freed between shards that stay. By default glibc would keep
    the gaps, and a rank would grow to the size of the model.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, MMAP_THRESHOLD)

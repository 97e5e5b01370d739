"""ZeRO-3: each rank holds a shard of every weight, gathered layer by layer as they run.

See decisions/003-zero3-on-cpu.md for why Lightning's strategy is adapted.
"""

import datetime
from typing import Any

import torch
from lightning.fabric.utilities.seed import reset_seed
from lightning.pytorch.strategies import DDPStrategy, DeepSpeedStrategy

from vxdist.errors import UserError


def zero3_settings(dtype: str) -> dict[str, Any]:
    """DeepSpeed's configuration for inference with sharded weights."""
    return {
        "train_micro_batch_size_per_gpu": 1,
        "zero_allow_untested_optimizer": True,
        "zero_optimization": {"stage": 3},
        "bf16": {"enabled": dtype == "bfloat16"},
        "fp16": {"enabled": dtype == "float16"},
    }


def make_zero3(backend: str, dtype: str, timeout: datetime.timedelta) -> DeepSpeedStrategy:
    """Lightning's DeepSpeed strategy, on GPUs or on CPUs. Raises UserError without DeepSpeed."""
    try:
        import deepspeed  # noqa: F401
    except ImportError as error:
        raise UserError(
            "trainer.strategy: zero3 needs DeepSpeed; run `pip install deepspeed`"
        ) from error
    kind = DeepSpeedStrategy if backend == "nccl" else CpuDeepSpeedStrategy
    return kind(config=zero3_settings(dtype), process_group_backend=backend, timeout=timeout)


class CpuDeepSpeedStrategy(DeepSpeedStrategy):
    """The same on CPUs, which Lightning refuses though DeepSpeed does not."""

    def setup_environment(self) -> None:
        """Skip the check for CUDA, and no more."""
        DDPStrategy.setup_environment(self)

    def setup_distributed(self) -> None:
        """Skip the check of CUDA device numbers, and no more."""
        reset_seed()
        self.set_world_ranks()
        self._init_deepspeed_distributed()

    @property
    def root_device(self) -> torch.device:
        """The CPU, with the index that DeepSpeed asks for."""
        return torch.device("cpu", 0)


def shard_while_loading(dtype: str) -> Any:
    """While the returned object lives, `from_pretrained` keeps only this rank's shard."""
    from transformers.integrations.deepspeed import HfDeepSpeedConfig

    return HfDeepSpeedConfig(zero3_settings(dtype))

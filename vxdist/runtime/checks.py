"""Checks of settings that the stages with a model share; they need neither torch nor a model."""

from vxdist.config import Config, TrainerConfig
from vxdist.errors import UserError
from vxdist.model.source import check_files
from vxdist.runtime.launch import Launch, find_launch
from vxdist.runtime.zero3 import check_zero3

COUNTS = ("devices", "num_nodes", "threads")
TIMEOUTS = ("meet_timeout", "peer_timeout", "load_timeout")


def check_trainer(config: TrainerConfig, launch: Launch) -> None:
    """Raise UserError, naming the setting, if one is out of range, or does not suit the others.

    Whether there is a GPU only torch can say: see `resolve_strategy`.
    """
    for key in COUNTS:
        number = getattr(config, key)
        if number is not None and number < 1:
            raise UserError(f"trainer.{key}: {number} must be at least 1, or null")
    for key in TIMEOUTS:
        if getattr(config, key) < 1:
            raise UserError(f"trainer.{key}: {getattr(config, key)} must be at least 1 second")
    if config.progress_seconds < 0:
        raise UserError(f"trainer.progress_seconds: {config.progress_seconds} must be 0 or more")
    check_zero3(config, devices=launch.devices)
    if config.strategy == "single" and launch.world_size > 1:
        raise UserError(
            f"trainer.strategy: single, but there are {launch.world_size} processes; use ddp"
        )


def check_model_run(config: Config) -> None:
    """Raise UserError if the processes are not as configured, or there is no such model."""
    check_trainer(config.trainer, find_launch(config.trainer))
    check_files(config.model)


def check_batches(section: str, tokens_per_batch: int, max_padding: float) -> None:
    """Raise UserError, naming the setting of the section, if one of these is out of range."""
    if tokens_per_batch < 1:
        raise UserError(f"{section}.tokens_per_batch: {tokens_per_batch} must be at least 1")
    if not 0 <= max_padding < 1:
        raise UserError(f"{section}.max_padding: {max_padding} must be at least 0 and less than 1")

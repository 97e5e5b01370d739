"""Checks of locate's settings that need neither torch nor a model."""

from collections.abc import Sequence

from vxdist.config import Config
from vxdist.corpus import Corpus
from vxdist.errors import UserError
from vxdist.hooks.measures import choose
from vxdist.plan import check_parts_per_group
from vxdist.runtime.checks import check_batches, check_model_run


def check_settings(config: Config, corpus: Corpus | None) -> None:
    """Raise UserError, naming the setting, if one is out of range or asks more of the corpus than
    it has.
    """
    settings = config.locate
    choose(settings.statistics)
    check_batches("locate", settings.tokens_per_batch, settings.max_padding)
    check_parts_per_group(settings.parts_per_group)
    if config.model.compile != "none" and config.trainer.strategy == "zero3":
        raise UserError(
            f"model.compile: {config.model.compile} with trainer.strategy: zero3, which gathers "
            "weights in hooks that cannot be compiled; use model.compile: none"
        )


def check_compile(config: Config, architecture: str, num_experts: int) -> None:
    """Raise UserError if the layers are to be compiled, and the model is a mixture of experts."""
    if config.model.compile != "none" and num_experts:
        raise UserError(
            f"model.compile: {config.model.compile}, but {architecture} has {num_experts} experts "
            "a layer, whose tokens are known only as it runs; use model.compile: none"
        )


def check_inputs(config: Config, corpus: Corpus | None, stages: Sequence[str]) -> None:
    """Raise UserError if there is no such model, or the processes are not as configured."""
    check_model_run(config)

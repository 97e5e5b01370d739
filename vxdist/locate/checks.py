"""Checks of locate's settings that need neither torch nor a model."""

from collections.abc import Sequence

from vxdist.config import Config
from vxdist.corpus import Corpus
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


def check_inputs(config: Config, corpus: Corpus | None, stages: Sequence[str]) -> None:
    """Raise UserError if there is no such model, or the processes are not as configured."""
    check_model_run(config)

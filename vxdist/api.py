"""The stages for notebooks and scripts: a configuration in, a store, dataset or path out.

Each takes the store's lock while it writes. Nothing is printed unless `verbose` is true.
"""

import contextlib
import dataclasses
import importlib
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vxdist.config import Config
from vxdist.output import Output

if TYPE_CHECKING:
    import xarray as xr

    from vxstore import Store

__all__ = [
    "Config",
    "ablate",
    "attribute",
    "evaluate",
    "load_config",
    "locate",
    "reduce",
    "report",
    "run",
]

STAGES = ("locate", "attribute", "reduce", "evaluate", "report")
WHOLE = ("locate", "reduce", "evaluate", "report")
"""Stages of `run`; `attribute` is run when it is wanted."""
WITH_MODEL = {"locate", "attribute", "evaluate"}
"""Stages that read the corpus and run the model."""


def load_config(
    file: str | os.PathLike[str] | None = None, overrides: Mapping[str, Any] | None = None
) -> Config:
    """The configuration of a run: a YAML file, and settings that replace those of the file.

    Keys of `overrides` are dotted, as on the command line: {"model.path": "tiny", "store":
    "x.zarr"}. Raises UserError naming the file or the key.
    """
    from vxdist import settings

    return settings.load_config(file, overrides)


def locate(config: Config, *, verbose: bool = False) -> "Store":
    """Record how often each neuron is active; returns the complete store.

    Parts that are recorded already are not run again. Raises UserError if a setting, the corpus or
    the model is missing or unsuitable, or the store belongs to another run.
    """
    run_stages(config, ["locate"], Output(shown=verbose))
    return _open(config)


def attribute(config: Config, *, verbose: bool = False) -> "xr.Dataset":
    """Attribute the choices to neurons by gradients; returns the attribution, `attribution/NAME`.

    Raises UserError if the store is missing or not complete, the outcome has no log-odds, or the
    corpus or the model is missing or unsuitable.
    """
    run_stages(config, ["attribute"], Output(shown=verbose))
    return _open(config).attribution(config.attribution_name)


def reduce(config: Config, *, verbose: bool = False) -> "xr.Dataset":
    """Score the neurons of a complete store; returns the score, `scores/NAME`.

    Raises UserError if the store is missing or not complete, or a setting is out of range.
    """
    run_stages(config, ["reduce"], Output(shown=verbose))
    return _open(config).scores(config.score_name)


def evaluate(config: Config, *, verbose: bool = False) -> "xr.Dataset":
    """Ablate the selected neurons; returns the effects, (mask, value, language).

    They are those of the first outcome. What was measured of all stays in the store:
    `vxstore.open(config.store).evaluation(NAME)`, which is returned for an outcome without effects.
    Raises UserError if the store, its score, the corpus or the model is missing or unsuitable.
    """
    from vxstore.outcome import has_effect

    run_stages(config, ["evaluate"], Output(shown=verbose))
    store, name = _open(config), config.evaluation_name
    evaluation = store.evaluation(name)
    return store.effect(name) if has_effect(evaluation.attrs) else evaluation


def report(config: Config, *, verbose: bool = False) -> Path:
    """Write the report of a store; returns the path of the HTML file.

    Raises UserError if the store or its score is missing, or the file cannot be written.
    """
    run_stages(config, ["report"], Output(shown=verbose))
    from vxdist.report.checks import report_path

    return report_path(config)


def run(config: Config, *, verbose: bool = False) -> "Store":
    """Locate, reduce, evaluate and report; returns the store. Raises as the stages do."""
    run_stages(config, WHOLE, Output(shown=verbose))
    return _open(config)


def ablate(
    model: Any,
    mask: Any,
    *,
    value: str | None = None,
    language: str | None = None,
    intervention: Any = "zero",
    store: "str | os.PathLike[str] | Store | None" = None,
) -> contextlib.AbstractContextManager[Any]:
    """Within a `with` block, ablate neurons of a transformers model that is in memory.

    `mask` is a bool array (layer, neuron), such as `scores.selected` of one value and language, a
    mapping of layers to neurons, or a mask file, whose mask of `value` and `language` is taken.
    `intervention` is a name (its settings have their defaults), an intervention of
    `vxdist.hooks.interventions`, or an `Affine` map; all but zero and a map are computed from
    `store`, for `value` and `language`. Whatever ends the block, no hook is left.

    Blocks of one model cannot be nested. Raises UserError, on entering, if the layout of the model
    is not supported, or the mask is not one of a model of its shape.
    """
    live = importlib.import_module("vxdist.hooks.live")  # it needs torch
    made: contextlib.AbstractContextManager[Any] = live.ablate(
        model, mask, value=value, language=language, intervention=intervention, store=store
    )
    return made


def run_stages(config: Config, stages: Sequence[str], output: Output) -> None:
    """Run stages one after the other, holding the store's lock if any of them writes it.

    Before the first, all that can be wrong with any of them is looked for.
    """
    from vxdist import launcher, stopping
    from vxdist.saved_settings import save_settings

    _prepare_environment(config)
    with stopping.watch(), launcher.watch():
        _check(config, stages, output)
        with _hold(config, stages):
            for stage in stages:
                _stage(stage)(config, output)
                save_settings(config, stage)


def _check(config: Config, stages: Sequence[str], output: Output) -> None:
    """Find the mistakes in any section before hours are spent, first those that need no torch.

    One file is one run, so locate checks the settings of all stages. What another stage than those
    of this run would be refused for is a warning, and only if its section was set.
    """
    from vxdist.corpus import load_corpus
    from vxdist.errors import UserError
    from vxdist.ranks import is_first_rank

    if not config.store:
        raise UserError("store: not given; name the path or URL of the activation store")
    if not (is_first_rank() or WITH_MODEL & set(stages)):
        return
    corpus = load_corpus(config.corpus) if WITH_MODEL & set(stages) else None
    for stage in STAGES if "locate" in stages else stages:
        _module(stage, "checks").check_settings(config, corpus)
    for stage in stages:
        _module(stage, "checks").check_inputs(config, corpus, stages)
    if "locate" not in stages:
        return
    later = [stage for stage in WHOLE if stage in stages or _was_set(config, stage)]
    questions: Any = _module("asking", "questions") if "evaluate" in later else None
    reader = questions.find_reader(config) if questions and is_first_rank() else None
    try:
        for stage in later:
            _module(stage, "checks").check_inputs(config, corpus, later)
        if reader is not None:
            questions.check_questions(config, corpus, reader)
    except UserError as error:
        if later == list(stages):
            raise
        if output.shown and is_first_rank():
            print(f"warning: a later stage will be refused: {error}", file=sys.stderr)


def _was_set(config: Config, section: str) -> bool:
    settings, default = (dataclasses.asdict(getattr(of, section)) for of in (config, Config()))
    return bool(settings != default)


def _module(stage: str, name: str) -> Any:
    """A module of a stage, imported when it is used: some need torch."""
    return importlib.import_module(f"vxdist.{stage}.{name}")


def _stage(name: str) -> Callable[[Config, Output], None]:
    run_stage: Callable[[Config, Output], None] = _module(name, "stage").run
    return run_stage


def _prepare_environment(config: Config) -> None:
    # Read when torch loads OpenMP. Threads that wait spin by default, and where processes share
    # cores they spin against each other: a tenth of the speed.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if config.trainer.accelerator == "cpu":
        # Else DeepSpeed, where it is installed, looks for a GPU and warns that there is none.
        os.environ.setdefault("DS_ACCELERATOR", "cpu")


@contextlib.contextmanager
def _hold(config: Config, stages: Sequence[str]) -> Iterator[None]:
    """The store's lock, for rank 0 of a run that writes it; the other ranks belong to that run."""
    from vxdist import stopping
    from vxdist.ranks import is_first_rank
    from vxstore.io.lock import hold, release

    if list(stages) == ["report"] or not is_first_rank():
        yield
        return
    with (
        stopping.cleaning_up(lambda: release(config.store)),
        hold(config.store, take_over=config.take_over),
    ):
        yield


def _open(config: Config) -> "Store":
    import vxstore

    return vxstore.open(config.store)

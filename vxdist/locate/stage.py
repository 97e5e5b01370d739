"""The locate stage: corpus and model in, activation store out."""

from collections.abc import Callable, Mapping
from importlib.metadata import version
from typing import Any

from vxdist.config import Config
from vxdist.corpus import Corpus, load_corpus
from vxdist.corpus.editions import refuse_other_edition
from vxdist.hooks.compiled import check_compiler
from vxdist.hooks.measures import choose
from vxdist.locate.checks import check_compile
from vxdist.locate.disk_space import check_disk_space
from vxdist.locate.token_cache import read_stories
from vxdist.locate.work import LocateWork
from vxdist.model.identify import digest_model
from vxdist.model.load import ModelShape, describe_model
from vxdist.model.source import ModelSource, find_model, read_ahead
from vxdist.output import Output
from vxdist.plan import PLAN_VERSION, Plan, fit_stories, make_plan
from vxdist.progress import WorkProgress
from vxdist.runtime.identity import describe_computation
from vxdist.runtime.launch import find_launch
from vxdist.runtime.loop import run_loop
from vxdist.runtime.strategy import resolve_strategy
from vxdist.runtime.zero3 import check_sharded
from vxstore.errors import StoreError
from vxstore.finalise import complete, count_layers, sum_layers
from vxstore.identity import holds_store, refuse_other, refuse_other_computation
from vxstore.read import read_root_attrs
from vxstore.statistics import DEFAULT
from vxstore.text import plural
from vxstore.write import PartLabels, Recorder, create

PACKAGES = ("vxdist", "torch", "transformers", "lightning", "zarr", "numpy")


def run(config: Config, output: Output) -> None:
    """Record what is missing and, when nothing is, sum the parts into the root.

    Raises UserError, before any model is loaded, if corpus, model, plan, store or disk is
    missing or unsuitable.
    """
    launch = find_launch(config.trainer)
    kind = resolve_strategy(config.trainer, launch)
    statistics = choose(config.locate.statistics)
    if config.model.compile != "none":
        check_compiler(config.trainer.accelerator)
    corpus = load_corpus(config.corpus)
    source = find_model(config.model)
    shape = describe_model(source)
    check_sharded(kind, source.name, shape.packing)
    check_compile(config, shape.architecture, shape.num_experts)
    read_ahead(source)
    plan = plan_run(config, corpus, source, shape)
    identity = describe_run(config, corpus, source, shape, plan, say=output.say)
    identity["computation"] = describe_computation(config, kind)

    if launch.rank == 0:
        _prepare_store(config, corpus, shape, plan, identity, output)
    if _missing(config.store) > 0:
        work = LocateWork(plan, config.store, statistics, compiled=config.model.compile == "layers")
        run_loop(
            work,
            source,
            config,
            output,
            identity=_common(identity),
            then=lambda rank, of: _sum(config, rank, of, output),
        )
    elif launch.rank == 0:
        _sum(config, 0, 1, output)  # an earlier run was killed while it summed
    if launch.rank == 0:
        complete(config.store)
        output.say(
            f"locate: {plural(len(plan.parts), 'part')}, {plan.token_count:,} tokens recorded in "
            f"{config.store}"
        )


def plan_run(config: Config, corpus: Corpus, source: ModelSource, shape: ModelShape) -> Plan:
    """The plan of this corpus under this model's tokenizer."""
    stories = fit_stories(
        read_stories(config, corpus, source, shape),
        max_length=shape.max_length,
        too_long=config.locate.too_long,
    )
    return make_plan(
        stories,
        values=corpus.values,
        languages=corpus.languages,
        parts_per_group=config.locate.parts_per_group,
        tokens_per_batch=config.locate.tokens_per_batch,
        max_padding=config.locate.max_padding,
    )


def describe_run(
    config: Config,
    corpus: Corpus,
    source: ModelSource,
    shape: ModelShape,
    plan: Plan,
    *,
    say: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """Attributes of the store: what was run, and the digests by which a resume knows itself."""
    names = [row.name for row in choose(config.locate.statistics)]
    names = [row.name for row in choose(config.locate.statistics)]
    left_out = len(corpus.activation) - len(plan.stories)
    return {
        "model": source.name,
        "model_revision": source.revision,
        "model_fingerprint": source.fingerprint,
        "model_digest": digest_model(source, say),
        "model_architecture": shape.architecture,
        "activation_function": shape.activation,
        **_describe_experts(shape),
        "dtype": config.model.dtype,
        **({} if shape.packing is None else {"packing": shape.packing}),
        **({} if config.model.compile == "none" else {"compile": config.model.compile}),
        "corpus": corpus.path,
        "corpus_digest": corpus.activation_digest(),
        "plan_version": PLAN_VERSION,
        "plan_digest": plan.digest,
        "plan_settings": {
            "parts_per_group": config.locate.parts_per_group,
            "tokens_per_batch": config.locate.tokens_per_batch,
            "max_padding": config.locate.max_padding,
            "span": config.locate.span,
            **({} if left_out == 0 else {"too_long": config.locate.too_long}),
        },
        **({} if left_out == 0 else {"left_out_story_count": left_out}),
        **({} if names == list(DEFAULT) else {"statistics": names}),
        "planned_token_count": plan.token_count,
        "padding": plan.padding,
        "versions": {name: version(name) for name in PACKAGES},
    }


def _describe_experts(shape: ModelShape) -> dict[str, int]:
    """Nothing of layers that differ, whose blocks say it."""
    known = shape.blocks is None and shape.experts_per_token
    return {"experts_per_token": shape.experts_per_token} if known else {}


def _common(identity: Mapping[str, Any]) -> dict[str, Any]:
    """What all ranks must have in common: paths may differ, for copies on each machine."""
    settings = {f"locate.{key}": found for key, found in identity["plan_settings"].items()}
    common = ("model_digest", "corpus_digest", "plan_digest", "statistics")
    return settings | {key: identity[key] for key in common if key in identity}


def _prepare_store(
    config: Config,
    corpus: Corpus,
    shape: ModelShape,
    plan: Plan,
    identity: dict[str, Any],
    output: Output,
) -> None:
    """Create the store, or check that the existing one belongs to this run."""
    path = config.store
    if holds_store(path):
        _refuse_other(config, identity)
        missing = _missing(path)
        if missing > 0:
            refuse_other_computation(path, identity["computation"])
        if missing == 0:
            output.say(f"locate: all {len(plan.parts)} parts are recorded already; no model work")
        else:
            output.say(f"locate: resuming: {missing} of {len(plan.parts)} parts are missing")
        return
    check_disk_space(
        path,
        num_parts=len(plan.parts),
        neurons=shape.num_layers * shape.num_neurons,
        statistics=choose(config.locate.statistics),
    )
    attrs = {**identity, "config": config.kept("model", "corpus", "locate", "trainer")}
    create_store(path, corpus, shape, plan, attrs)
    if left_out := len(corpus.activation) - len(plan.stories):
        output.say(
            f"locate: {plural(left_out, 'story', 'stories')} left out, as a telling of the same "
            f"dilemma is longer than the model's limit of {shape.max_length:,} tokens"
        )
    output.say(
        f"locate: {plural(len(plan.stories), 'story', 'stories')} in "
        f"{plural(len(plan.parts), 'part')}, {plan.token_count:,} tokens, "
        f"padding {plan.padding:.1%}; {shape.num_layers} layers of {shape.num_neurons:,} "
        f"neurons ({shape.architecture})"
    )


def _refuse_other(config: Config, identity: dict[str, Any]) -> None:
    path, kept = config.store, read_root_attrs(config.store)
    refuse_other_edition(path, config.corpus, "corpus_digest", kept, identity)
    refuse_other(path, identity)


def create_store(
    path: str, corpus: Corpus, shape: ModelShape, plan: Plan, identity: dict[str, Any]
) -> None:
    """Create the empty store of a plan. Raises StoreError if something else is there."""
    create(
        path,
        num_layers=shape.num_layers,
        num_neurons=shape.num_neurons,
        num_experts=shape.num_experts if shape.blocks is None else 0,
        blocks=None if shape.blocks is None else shape.blocks.layers,
        values=corpus.values,
        languages=corpus.languages,
        parts=[
            PartLabels(
                value=part.value,
                language=part.language,
                stance=part.stance,
                cluster=part.cluster,
                setting=part.setting,
                token_count=part.token_count,
                story_count=part.story_count,
            )
            for part in plan.parts
        ],
        attrs=identity,
    )


def _sum(config: Config, rank: int, world_size: int, output: Output) -> None:
    """Sum this rank's layers of all parts into the root."""
    number = count_layers(config.store, rank=rank, world_size=world_size)
    shown, seconds = output.shown and rank == 0, config.trainer.progress_seconds
    progress = WorkProgress("summing", number, "layers", shown=shown, seconds=seconds)
    progress.start()
    try:
        sum_layers(config.store, rank=rank, world_size=world_size, advance=progress.advance)
    finally:
        progress.stop()


def _missing(path: str) -> int:
    """Unsealed parts; at least one while rank 0 is still creating the store."""
    try:
        made = holds_store(path)
    except StoreError:
        made = False  # another rank is at it; rank 0 refused what is not a store before
    return int((~Recorder(path).sealed()).sum()) if made else 1

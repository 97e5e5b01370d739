"""The `vxdist apply` command: its options, besides all settings of the run."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vxdist.errors import UserError
from vxdist.parser import Parser, check_unknown

if TYPE_CHECKING:
    from vxdist.apply.card import About
    from vxdist.apply.checkpoint import Planned
    from vxdist.apply.neurons import Chosen
    from vxdist.config import Config

SHORT = {
    "score": "evaluate.scores",
    "masks": "evaluate.masks",
    "intervention": "evaluate.intervention",
}
"""Options that are short for a setting of the run."""


def run(arguments: Sequence[str]) -> None:
    """Write a checkpoint of the ablated model.

    Raises UserError, before anything is written, if an option, the store or the model is missing or
    unsuitable.
    """
    options, config = _parse(arguments)
    _apply(options, config)


def _parse(arguments: Sequence[str]) -> "tuple[argparse.Namespace, Config]":
    parser = _parser()
    words = list(arguments)
    store = words.pop(0) if words and not words[0].startswith("-") else None
    options, settings = parser.parse_known_args(words)
    check_unknown(parser, settings)
    if store is not None:
        settings = ["--store", store, *settings]
    elif not any(word.partition("=")[0] in ("--store", "--config") for word in settings):
        raise UserError("STORE is missing: vxdist apply STORE --value V --language G --out FOLDER")
    from vxdist.settings import parse  # it is slow to load

    for name, setting in SHORT.items():
        if getattr(options, name) is not None:
            settings.append(f"--{setting}={getattr(options, name)}")
    return options, parse("apply", settings)


def _parser() -> Parser:
    parser = Parser(
        prog="vxdist apply",
        usage="vxdist apply STORE --value V --language G --model.path M --out FOLDER [...]",
        description="Write a checkpoint of the model with a value's neurons ablated, which plain "
        "transformers, vLLM and others load. The intervention is folded into the down projections.",
        epilog="All settings of the run are accepted too, as --config FILE or --model.revision R; "
        "`vxdist evaluate --help` lists them.",
        allow_abbrev=False,
    )
    parser.add_argument("--value", required=True, help="value whose neurons are ablated")
    text = "language whose selection is ablated, or pooled"
    parser.add_argument("--language", required=True, help=text)
    parser.add_argument("--out", metavar="FOLDER", required=True, help="folder to make")
    text = "name of the score that selects the neurons; default: the only one, or contrast"
    parser.add_argument("--score", metavar="NAME", help=text)
    text = "mask file whose neurons are ablated instead of a score's"
    parser.add_argument("--masks", metavar="FILE", help=text)
    text = "what the activations become; default: zero (its settings: --evaluate.NAME.KEY)"
    parser.add_argument("--intervention", metavar="NAME", help=text)
    return parser


def _apply(options: argparse.Namespace, config: "Config") -> None:
    # These import torch and zarr, which are slow to load.
    from vxdist.apply.checkpoint import plan_checkpoint
    from vxdist.apply.files import check_out, refuse_existing, weight_files
    from vxdist.apply.neurons import choose
    from vxdist.model.identify import check_same_model
    from vxdist.model.source import check_files, find_model
    from vxdist.output import Output
    from vxstore.read import open_store

    out = Path(options.out)
    refuse_existing(out)
    store = open_store(config.store)
    chosen = choose(config, store, options.value, options.language)
    check_files(config.model)
    source = find_model(config.model)
    output = Output()
    check_same_model(store, source, output.say)
    name = config.evaluate.intervention
    planned = plan_checkpoint(source, chosen.neurons, chosen.affine, name)
    check_out(out, weight_files(planned.tensors))
    about = _describe(config, chosen, planned, store.attrs)
    changed = _write(about, planned, out, output)
    _say(about, planned, changed, out, output)


def _describe(config: "Config", chosen: "Chosen", planned: "Planned", attrs: Any) -> "About":
    from importlib.metadata import version

    from vxdist.apply.card import About
    from vxdist.apply.neurons import describe_settings

    return About(
        source=planned.source,
        chosen=chosen,
        intervention=describe_settings(config),
        store_digest=str(attrs.get("metadata_digest", "")),
        num_layers=planned.hook_points.num_layers,
        num_neurons=planned.hook_points.num_neurons,
        num_experts=planned.hook_points.num_experts,
        blocks=None if planned.hook_points.alike else planned.hook_points.recorded(),
        version=version("vxdist"),
        unpacked=planned.source.name.endswith(".gguf"),
    )


def _write(about: "About", planned: "Planned", out: Path, output: Any) -> list[str]:
    """Write the checkpoint; it appears at `out` whole or not at all."""
    from vxdist.apply.card import ABLATION, CARD, to_card, to_json
    from vxdist.apply.checkpoint import finish, write_checkpoint
    from vxstore.io.scratch import make_scratch

    out.absolute().parent.mkdir(parents=True, exist_ok=True)
    with make_scratch(out.absolute().parent, out.name) as partial:
        partial.chmod(0o755)
        fingerprint, changed = write_checkpoint(planned, partial, output)
        (partial / CARD).write_text(to_card(about), encoding="utf-8")
        (partial / ABLATION).write_text(to_json(about, fingerprint, changed), encoding="utf-8")
        finish(partial, out)
    return changed


def _say(about: "About", planned: "Planned", changed: list[str], out: Path, output: Any) -> None:
    from vxstore.text import plural

    chosen = about.chosen
    levels = ", ".join(f"level {level}: {count:,}" for level, count in chosen.levels.items())
    output.say(
        f"apply: {plural(chosen.count, 'neuron')} of {chosen.value} in {chosen.language}, in "
        f"{plural(len(chosen.neurons), 'layer')}: {about.intervention['name']}"
        f" ({levels or 'not tested'})"
    )
    if about.unpacked:
        output.say("apply: the GGUF weights are written unpacked, in float32")
    output.say(f"apply: {len(changed):,} of {len(planned.tensors):,} tensors changed, in {out}")

"""The `vxdist estimate` command: its options, besides all settings of the run."""

import argparse
import dataclasses
import re
from collections.abc import Sequence
from typing import Any

from vxdist.errors import UserError, find_near
from vxdist.estimate.assumptions import Assumptions
from vxdist.parser import Parser

NO_STORE = "estimate.zarr"
"""The settings require a store, though an estimate uses none."""
MOST_DILEMMAS = 10_000_000


def run(arguments: Sequence[str]) -> None:
    """Estimate a run and print the estimate. A run that does not fit is not an error.

    Raises UserError if an option or setting is invalid, or the corpus or model is missing or
    unsuitable.
    """
    parser = _parser()
    options, settings = parser.parse_known_args(list(arguments))
    _check_unknown(parser, settings)
    if options.power:
        _run_power(options, settings)
        return
    if options.evaluation is not None:
        raise UserError("--evaluation: only --power reads an evaluation; give --power too")
    # These import torch and transformers, which are slow to load.
    from vxdist.estimate.advice import find_advice
    from vxdist.estimate.estimate import make_estimate
    from vxdist.estimate.machine import MachineOptions, find_machine
    from vxdist.estimate.show import show, to_json
    from vxdist.estimate.texts import CorpusSize
    from vxdist.estimate.units import parse_bytes
    from vxdist.settings import parse
    from vxstore.cli.output import print_json

    config = parse("estimate", ["--store", NO_STORE, *settings])
    assume = _assume(options)
    machine_options = MachineOptions(**_pick(MachineOptions, options))
    corpus_size = CorpusSize(**_pick(CorpusSize, options))
    available = {
        name: parse_bytes(getattr(options, name), f"--{name.replace('_', '-')}")
        for name in ("node_memory", "disk")
        if getattr(options, name) is not None
    }
    machine = find_machine(config.trainer, machine_options, assume)
    estimate = make_estimate(config, machine, corpus_size, assume)
    advice = find_advice(estimate, **available)
    if options.format == "json":
        print_json(to_json(estimate, advice, assume))
    else:
        show(estimate, advice, assume)


def _run_power(options: argparse.Namespace, settings: Sequence[str]) -> None:
    """Print which effects a run can find; neither the model nor torch is needed."""
    from vxdist.estimate.power import find_power, show, to_json
    from vxdist.estimate.units import check_amount
    from vxdist.settings import parse
    from vxstore.cli.output import print_json

    config = parse("estimate", ["--store", NO_STORE, *settings])
    check_amount("dilemmas", options.dilemmas, MOST_DILEMMAS)
    power = find_power(config, options.evaluation, options.dilemmas)
    if options.format == "json":
        print_json(to_json(power))
    else:
        show(power)


def _parser() -> Parser:
    defaults = Assumptions()
    parser = Parser(
        prog="vxdist estimate",
        description="Estimate the memory, time and disk space that a run needs, from its "
        "configuration, its corpus and the model's config.json. No weights are read.",
        epilog="All settings of the run are accepted too, such as --locate.tokens_per_batch 8192; "
        "`vxdist locate --help` lists them.",
        allow_abbrev=False,
    )
    parser.add_argument("--gpus", type=int, help="total number of GPUs; default: as configured")
    parser.add_argument("--gpu-memory", metavar="SIZE", help="memory of one GPU, such as 80GB")
    text = f"number of nodes; default: as configured, or {defaults.gpus_per_node} GPUs per node"
    parser.add_argument("--nodes", type=int, help=text)
    text = f"peak FLOP/s of one GPU; default: {defaults.gpu_flops:g} (H100, bfloat16)"
    parser.add_argument("--gpu-flops", type=float, metavar="N", help=text)
    text = f"fraction of the peak that is reached; default: {defaults.fraction:g}"
    parser.add_argument("--fraction", type=float, metavar="N", help=text)
    text = "number of stories of a corpus that does not exist yet, over all values and languages"
    parser.add_argument("--stories", type=int, metavar="N", help=text)
    text = "mean length of those stories in tokens"
    parser.add_argument("--tokens-per-story", type=float, metavar="N", help=text)
    text = "number of evaluation dilemmas of that corpus, over all values and languages"
    parser.add_argument("--dilemmas", type=int, metavar="N", help=text)
    text = "mean length of a question (dilemma and options) in tokens"
    parser.add_argument("--tokens-per-dilemma", type=float, metavar="N", help=text)
    rates = ",".join(f"{name}={rate:g}" for name, rate in defaults.characters_per_token.items())
    text = f"used if the model has no tokenizer; default: {rates}"
    parser.add_argument("--characters-per-token", metavar="LANGUAGE=N,...", help=text)
    parser.add_argument(
        "--node-memory", metavar="SIZE", help="CPU memory of one node; checked if given"
    )
    parser.add_argument("--disk", metavar="SIZE", help="disk space for the store; checked if given")
    text = "print the smallest effect that the run can find, by dilemmas and control draws, only"
    parser.add_argument("--power", action="store_true", help=text)
    text = "with --power: evaluation in --store that says how much control draws vary"
    parser.add_argument("--evaluation", metavar="NAME", help=text)
    parser.add_argument("--format", choices=("table", "json"), default="table")
    return parser


def _pick(kind: type[Any], options: argparse.Namespace) -> dict[str, Any]:
    """The options that are fields of the dataclass `kind`."""
    return {field.name: getattr(options, field.name) for field in dataclasses.fields(kind)}


def _check_unknown(parser: argparse.ArgumentParser, settings: Sequence[str]) -> None:
    """Refuse options without a section (all settings have one) that are not the command's own."""
    options = [name for action in parser._actions for name in action.option_strings]
    known = ("--config", "--store", "--print_config", "--take_over", "--take-over")
    for option in (text.partition("=")[0] for text in settings if text.startswith("--")):
        if "." not in option and option not in known:
            near = find_near(option, [*options, *known])
            hint = f"did you mean {near}?" if near else "see `vxdist estimate --help`"
            raise UserError(f"option {option} is not known; {hint}")


def _assume(options: argparse.Namespace) -> Assumptions:
    """The default assumptions, with the given numbers of characters per token."""
    assume = Assumptions()
    for pair in filter(None, (options.characters_per_token or "").split(",")):
        name, _, number = pair.partition("=")
        if not re.fullmatch(r"\d+(\.\d+)?", number) or float(number) == 0:
            raise UserError(
                f"--characters-per-token: found {pair!r}, expected LANGUAGE=NUMBER, such as en=4.6"
            )
        assume.characters_per_token[name.strip()] = float(number)
    return assume

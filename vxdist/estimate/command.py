"""The `vxdist estimate` command: its options, beside all settings of the run."""

import argparse
import dataclasses
import difflib
import re
from collections.abc import Sequence

from vxdist.errors import UserError
from vxdist.estimate.assumptions import Assumptions
from vxdist.parser import Parser

NO_STORE = "plan.zarr"
"""A run needs a store; an estimate does without."""


def run(arguments: Sequence[str]) -> None:
    """Estimate a run and print it. Raises UserError if options, settings, corpus or model will
    not do; a run that does not fit is no error."""
    parser = _parser()
    options, settings = parser.parse_known_args(list(arguments))
    _check_unknown(parser, settings)
    # torch and transformers, which these need, take a while to load.
    from vxdist.estimate.advice import find_advice
    from vxdist.estimate.estimate import make_estimate
    from vxdist.estimate.machine import Wanted, find_machine
    from vxdist.estimate.show import show, to_json
    from vxdist.estimate.texts import Imagined
    from vxdist.estimate.units import parse_bytes
    from vxdist.settings import parse
    from vxstore.cli.output import print_json

    config = parse("plan", ["--store", NO_STORE, *settings])
    assume = _assume(options)
    given = vars(options)
    wanted = Wanted(**{f.name: given[f.name] for f in dataclasses.fields(Wanted)})
    imagined = Imagined(**{f.name: given[f.name] for f in dataclasses.fields(Imagined)})
    room = {
        name: parse_bytes(given[name], f"--{name.replace('_', '-')}")
        for name in ("node_memory", "disk")
        if given[name] is not None
    }
    machine = find_machine(config.trainer, wanted, assume)
    estimate = make_estimate(config, machine, imagined, assume)
    advice = find_advice(estimate, **room)
    if options.format == "json":
        print_json(to_json(estimate, advice, assume))
    else:
        show(estimate, advice, assume)


def _parser() -> Parser:
    defaults = Assumptions()
    parser = Parser(
        prog="vxdist estimate",
        description="Say what a run will need of memory, time and disk, from its configuration, "
        "its corpus and the model's config.json. No weights are read.",
        epilog="All settings of the run may be given too, as in --locate.tokens_per_batch 8192; "
        "`vxdist locate --help` lists them.",
        allow_abbrev=False,
    )
    parser.add_argument("--gpus", type=int, help="GPUs in all; default: as configured")
    parser.add_argument("--gpu-memory", metavar="SIZE", help="memory of one GPU, as 80GB")
    text = f"nodes; default: as configured, or nodes of {defaults.gpus_per_node} GPUs"
    parser.add_argument("--nodes", type=int, help=text)
    text = f"peak of one GPU, operations a second; default: {defaults.gpu_flops:g} (H100, bfloat16)"
    parser.add_argument("--gpu-flops", type=float, metavar="N", help=text)
    text = f"share of the peak that is reached; default: {defaults.fraction:g}"
    parser.add_argument("--fraction", type=float, metavar="N", help=text)
    text = "stories of a corpus that does not exist yet, over all values and languages"
    parser.add_argument("--stories", type=int, metavar="N", help=text)
    parser.add_argument("--tokens-per-story", type=float, metavar="N", help="their mean length")
    text = "evaluation dilemmas of it, over all values and languages"
    parser.add_argument("--dilemmas", type=int, metavar="N", help=text)
    text = "mean length of a question, dilemma and options"
    parser.add_argument("--tokens-per-dilemma", type=float, metavar="N", help=text)
    rates = ",".join(f"{name}={rate:g}" for name, rate in defaults.characters_per_token.items())
    text = f"where there is no tokenizer to ask; default: {rates}"
    parser.add_argument("--characters-per-token", metavar="LANGUAGE=N,...", help=text)
    parser.add_argument("--node-memory", metavar="SIZE", help="memory of one node, to be compared")
    parser.add_argument("--disk", metavar="SIZE", help="room for the store, to be compared")
    parser.add_argument("--format", choices=("table", "json"), default="table")
    return parser


def _check_unknown(parser: argparse.ArgumentParser, settings: Sequence[str]) -> None:
    """Settings have a section; what has none must be one of the command's own options."""
    own = [name for action in parser._actions for name in action.option_strings]
    known = ("--config", "--store", "--print_config", "--take_over", "--take-over")
    for option in (text.partition("=")[0] for text in settings if text.startswith("--")):
        if "." not in option and option not in known:
            near = difflib.get_close_matches(option, [*own, *known], n=1, cutoff=0.0)[0]
            raise UserError(f"option {option} is not known; did you mean {near}?")


def _assume(options: argparse.Namespace) -> Assumptions:
    """The defaults, with what is given of characters a token."""
    assume = Assumptions()
    for pair in filter(None, (options.characters_per_token or "").split(",")):
        name, _, number = pair.partition("=")
        if not re.fullmatch(r"\d+(\.\d+)?", number) or float(number) == 0:
            raise UserError(
                f"--characters-per-token: found {pair!r}, expected LANGUAGE=NUMBER, as en=4.6"
            )
        assume.characters_per_token[name.strip()] = float(number)
    return assume

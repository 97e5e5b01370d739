"""The `vxdist models` command: its options, and what it prints."""

import argparse
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from vxdist.parser import Parser
from vxstore.cli.output import new_console, print_json, print_table, print_wrapped

NOTE = (
    "Other models of these layouts work too: what counts is where the modules lie, and a self-test "
    "of a few tokens makes sure at load. `vxdist models MODEL` describes one."
)


def run(arguments: Sequence[str]) -> None:
    """List the families, or describe one model from its configuration alone.

    Raises UserError if options or the model will not do.
    """
    options = _parser().parse_args(list(arguments))
    if options.model is None:
        _list_families(options.format)
    else:
        _describe(options)


def _parser() -> Parser:
    parser = Parser(
        prog="vxdist models",
        description="Without MODEL, lists the model families whose neurons are known. With one, "
        "describes it from its configuration; no weights are read.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "model",
        metavar="MODEL",
        nargs="?",
        help="Hub id, directory with a config.json, .gguf file, or package:NAME/FILE",
    )
    parser.add_argument("--revision", help="branch, tag or commit of a Hub model")
    parser.add_argument(
        "--trust-remote-code",
        "--trust_remote_code",
        action="store_true",
        help="run the Python code that comes with the model; needs a commit as --revision",
    )
    parser.add_argument("--format", choices=("table", "json"), default="table")
    return parser


def _list_families(form: str) -> None:
    from vxdist.model.layouts import LAYOUTS

    if form == "json":
        print_json([dataclasses.asdict(layout) for layout in LAYOUTS])
        return
    console = new_console()
    names = ("layout", "neurons come out of", "and go into", "model types tested")
    rows = [(x.name, x.activation, x.output, list(x.families)) for x in LAYOUTS]
    print_table(console, [(name, False) for name in names], rows)
    print_wrapped(console, NOTE)


def _describe(options: argparse.Namespace) -> None:
    # transformers, which these need, takes a while to load.
    from vxdist.config import ModelConfig
    from vxdist.model.load import describe_model
    from vxdist.model.source import find_config

    source = find_config(
        ModelConfig(
            path=options.model,
            revision=options.revision,
            trust_remote_code=options.trust_remote_code,
        )
    )
    shape = describe_model(source)
    facts: dict[str, Any] = {"model": source.name, "revision": source.revision}
    facts |= dataclasses.asdict(shape)
    facts["neurons_in_all"] = shape.num_layers * shape.num_neurons
    if options.format == "json":
        print_json(facts)
    else:
        print_table(new_console(), [("what", False), ("of this model", False)], _told(facts))


def _told(facts: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The facts in words."""
    neurons = f"{facts['num_neurons']:,} a layer, {facts['neurons_in_all']:,} in all"
    if facts["num_experts"]:
        units = facts["num_neurons"] // facts["num_experts"]
        neurons = (
            f"{facts['num_experts']} experts x {units:,} = {neurons}; each token goes to "
            f"{facts['experts_per_token']} experts"
        )
    return [
        ("model", " ".join(filter(None, (facts["model"], facts["revision"])))),
        ("architecture", facts["architecture"]),
        ("layers", str(facts["num_layers"])),
        ("neurons", neurons),
        ("activation function", facts["activation"]),
        ("neurons come out of", f"{facts['activation_at']} ({facts['layout']})"),
        ("and go into", facts["output_at"]),
        ("vocabulary", f"{facts['vocabulary']:,}"),
        ("longest text", f"{facts['max_length']:,} tokens" if facts["max_length"] else "not said"),
    ]

"""The `vxdist models` command: its options and its output."""

import argparse
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from vxdist.parser import Parser
from vxstore.cli.output import new_console, print_json, print_table, print_wrapped

NOTE = (
    "Other models with one of these layouts work too: what matters is the names of the modules, "
    "which a self-test on a few tokens verifies at load. `vxdist models MODEL` describes a model."
)


def run(arguments: Sequence[str]) -> None:
    """List the families, or describe one model from its configuration alone.

    Raises UserError if an option is invalid, or the model is missing or not supported.
    """
    options = _parser().parse_args(list(arguments))
    if options.model is None:
        _list_families(options.format)
    else:
        _describe(options)


def _parser() -> Parser:
    parser = Parser(
        prog="vxdist models",
        description="Without MODEL, list the supported model families. With MODEL, describe that "
        "model from its configuration, and check by the names and shapes of its tensors that its "
        "weights are complete; no weights are read.",
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
        help="run the model's own Python code; requires a commit as --revision",
    )
    parser.add_argument("--format", choices=("table", "json"), default="table")
    return parser


def _list_families(form: str) -> None:
    from vxdist.model.layouts import LAYOUTS

    if form == "json":
        print_json([dataclasses.asdict(layout) for layout in LAYOUTS])
        return
    console = new_console()
    names = ("layout", "activations: output of", "read by", "tested model types")
    rows = [(x.name, x.activation, x.output, list(x.families)) for x in LAYOUTS]
    print_table(console, [(name, False) for name in names], rows)
    print_wrapped(console, NOTE)


def _describe(options: argparse.Namespace) -> None:
    # These import transformers, which is slow to load.
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
    blocks = shape.blocks
    facts["blocks"] = None if blocks is None else blocks.described()
    facts["total_neurons"] = shape.num_layers * shape.num_neurons
    if blocks is not None:
        facts["total_neurons"] = int(blocks.exists().sum())
    if options.format == "json":
        print_json(facts)
    else:
        print_table(new_console(), [("property", False), ("value", False)], _rows(facts))


def _rows(facts: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The facts as rows of a table."""
    neurons = f"{facts['num_neurons']:,} per layer, {facts['total_neurons']:,} in total"
    if facts["blocks"]:
        widths = sorted({sum(map(_width, layer)) for layer in facts["blocks"]})
        neurons = (
            f"{' or '.join(f'{n:,}' for n in widths)} per layer, {facts['total_neurons']:,} in "
            "total, in blocks that differ by layer (--format json lists them)"
        )
    elif facts["num_experts"]:
        units = facts["num_neurons"] // facts["num_experts"]
        neurons = (
            f"{facts['num_experts']} experts x {units:,} = {neurons}; each token is routed "
            f"to {facts['experts_per_token']} experts"
        )
    return [
        ("model", " ".join(filter(None, (facts["model"], facts["revision"])))),
        ("architecture", facts["architecture"]),
        ("layers", str(facts["num_layers"])),
        ("neurons", neurons),
        ("activation function", facts["activation"]),
        ("activations", f"output of {facts['activation_at']} ({facts['layout']} layout)"),
        ("read by", facts["output_at"]),
        ("weights", _weights(facts)),
        ("vocabulary", f"{facts['vocabulary']:,}"),
        (
            "longest text",
            f"{facts['max_length']:,} tokens" if facts["max_length"] else "not stated",
        ),
    ]


def _weights(facts: Mapping[str, Any]) -> str:
    packing = facts["packing"]
    return str(facts["weights"]) + (
        f", unpacked from {packing} when it is loaded" if packing else ""
    )


def _width(block: Mapping[str, int]) -> int:
    """Neurons of a block."""
    return block["units"] * block.get("experts", 1)

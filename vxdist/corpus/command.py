"""The `vxdist corpus` command: check, build and import corpora."""

import importlib
from collections.abc import Sequence

from vxdist.errors import UserError

COMMANDS = {
    "check": "check a corpus for errors, near-duplicates, wrong languages, imbalance and cues",
    "build": "generate a corpus with a language model",
    "import": "import an existing dataset",
}
PACKAGES = {"check": "check", "build": "builder", "import": "importing"}


def run(arguments: Sequence[str]) -> None:
    """Run a subcommand. Raises UserError if it does not exist, or as it does."""
    name = arguments[0] if arguments else "--help"
    if name in ("-h", "--help"):
        print(_usage())
        return
    if name not in COMMANDS:
        raise UserError(f"vxdist corpus: unknown command {name!r}, expected {', '.join(COMMANDS)}")
    importlib.import_module(f"vxdist.corpus.{PACKAGES[name]}.command").run(arguments[1:])


def _usage() -> str:
    lines = ["usage: vxdist corpus COMMAND ...", "", "commands:"]
    lines += [f"  {name:7} {text}" for name, text in COMMANDS.items()]
    return "\n".join([*lines, "", "`vxdist corpus COMMAND --help` lists the options of a command."])

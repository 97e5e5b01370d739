"""The `vxdist corpus` command: check, build and import corpora."""

import importlib
from collections.abc import Sequence

from vxdist.errors import UserError

COMMANDS = {
    "check": "look a corpus over: faults, near-duplicates, languages, balance, cues",
    "build": "write a corpus with a language model",
    "import": "make a corpus of what others have",
}
PACKAGES = {"check": "check", "build": "builder", "import": "importing"}


def run(arguments: Sequence[str]) -> None:
    """Run one of them. Raises UserError if there is no such command, or as it does."""
    name = arguments[0] if arguments else "--help"
    if name in ("-h", "--help"):
        print(_usage())
        return
    if name not in COMMANDS:
        raise UserError(f"vxdist corpus: found {name!r}, expected {', '.join(COMMANDS)}")
    importlib.import_module(f"vxdist.corpus.{PACKAGES[name]}.command").run(arguments[1:])


def _usage() -> str:
    lines = ["usage: vxdist corpus COMMAND ...", "", "commands:"]
    lines += [f"  {name:7} {text}" for name, text in COMMANDS.items()]
    return "\n".join([*lines, "", "`vxdist corpus COMMAND --help` lists the options of each."])

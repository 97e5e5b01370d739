"""The `vxdist` command. A stage is imported only when it runs."""

import contextlib
import importlib
import os
import sys
import warnings
from collections.abc import Sequence
from importlib.metadata import version
from typing import TYPE_CHECKING

from vxdist import launcher, stopping
from vxdist.errors import DONE, STOPPED, USER_ERROR, Stopped, UserError, find_near
from vxstore.errors import describe_disk
from vxstore.text import shorten

if TYPE_CHECKING:
    from vxdist.config import Config

STAGES = {
    "locate": "record how often each neuron is active, per value and language",
    "attribute": "attribute the choices to neurons by gradients (optional)",
    "reduce": "score the neurons and select those of each value",
    "evaluate": "ablate the selected neurons and measure the effect on the dilemmas",
    "report": "write an HTML page with the results",
}
RUN = ("run", "run locate, reduce, evaluate and report, one after the other")
OTHERS = {
    "apply": ("apply", "write a checkpoint of the model with a value's neurons ablated"),
    "corpus": ("corpus", "check, build or import a corpus"),
    "import": ("importing", "import activation counts recorded by other software"),
    "models": ("models", "list the supported models, or describe one"),
    "estimate": ("estimate", "estimate the memory, time and disk space that a run needs"),
}
"""Commands with options of their own: package and description."""
ALIASES = {"plan": "estimate"}
"""Earlier names of commands."""

EXTRAS = {
    **dict.fromkeys(("json_repair", "openai", "py3langid"), "build"),
    **dict.fromkeys(("python_calamine", "rensa", "sklearn"), "build"),
    "datasets": "huggingface",
    "pyarrow": "parquet",
}
"""Extras that contain a missing package, unless that is `run`."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code (0 done, 2 a user error, 3 stopped).

    Without `argv` the command is that of the process, which a stop then ends at once.
    """
    with stopping.watch(exits=True), launcher.watch():
        try:
            code = _main(list(sys.argv[1:] if argv is None else argv))
        except (Stopped, KeyboardInterrupt) as error:
            warnings.simplefilter("ignore")  # of what was going on, and is dropped with the error
            print(str(error) or "stopped; run the same command again to resume", file=sys.stderr)
            code = STOPPED
    if argv is None and code == STOPPED:
        # Else Python would wait for what was going on, and report all that was dropped.
        with contextlib.suppress(OSError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)
    if argv is None:
        stopping.end_with(code)
    return code


def _main(arguments: list[str]) -> int:
    try:
        if arguments in ([], ["-h"], ["--help"]):
            print(_usage())
        elif arguments == ["--version"]:
            print(f"vxdist {version('vxdist')}")
        else:
            _run(arguments[0], arguments[1:])
        sys.stdout.flush()
    except BrokenPipeError:  # the reader, such as `head`, has ended; the work may be incomplete
        from vxstore.cli.output import drop_output

        drop_output()
        return STOPPED
    except (UserError, ModuleNotFoundError, OSError, MemoryError) as error:
        message = _describe(error)
        if message is None:
            raise
        print(f"error: {message}", file=sys.stderr)
        return USER_ERROR
    return DONE if arguments else USER_ERROR


def _describe(error: Exception) -> str | None:
    """An error that the user can fix, in one line; None if it is a bug in vxdist."""
    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, ModuleNotFoundError):
        if error.name is None or error.name.partition(".")[0] in ("vxdist", "vxstore"):
            return None
        extra = EXTRAS.get(error.name.partition(".")[0], "run")
        return (
            f"the Python package {error.name} is not installed; install vxdist with its extra "
            f"`{extra}` (see the README)"
        )
    if isinstance(error, MemoryError):
        return "this machine has too little memory for that; `vxdist estimate` says what it takes"
    return describe_disk(error) if isinstance(error, OSError) else None


def _run(command: str, arguments: Sequence[str]) -> None:
    command = ALIASES.get(command, command)
    known = (*STAGES, RUN[0], *OTHERS)
    if command not in known:
        near = find_near(command, known)
        hint = f"did you mean {near}?" if near else f"there are {', '.join(known)}."
        raise UserError(f"unknown command {shorten(command)!r}; {hint} See vxdist --help")
    if command in OTHERS:
        importlib.import_module(f"vxdist.{OTHERS[command][0]}.command").run(arguments)
        return
    from vxdist.settings import parse

    _run_stages(command, parse(command, arguments))


def _run_stages(command: str, config: "Config") -> None:
    from vxdist.api import WHOLE, run_stages
    from vxdist.output import Output

    if command != RUN[0]:
        run_stages(config, [command], Output())
        return
    _check_alone(config)
    run_stages(config, WHOLE, Output())
    from vxdist.report.summary import print_summary

    print_summary(config)


def _check_alone(config: "Config") -> None:
    from vxdist.runtime.launch import find_launch

    if find_launch(config.trainer).world_size > 1:
        raise UserError(
            "vxdist run runs in one process; with several, start launch/locate.py, reduce.py, "
            "evaluate.py and report.py in turn"
        )


def _usage() -> str:
    lines = ["usage: vxdist COMMAND --config FILE [--section.key VALUE ...]", "", "commands:"]
    lines += [f"  {name:9} {text}" for name, text in (*STAGES.items(), RUN)]
    lines += [f"  {name:9} {text}" for name, (_, text) in OTHERS.items()]
    lines += [
        "",
        "`vxdist COMMAND --help` lists all settings and options, and `vxdist COMMAND --config FILE",
        "--print_config` prints the resolved settings. apply, corpus, import, models and",
        "estimate have options of their own. See `vxstore --help` for queries.",
    ]
    return "\n".join(lines)

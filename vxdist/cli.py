"""The `vxdist` command. A stage is imported only when it is called."""

import difflib
import errno
import importlib
import sys
from collections.abc import Sequence
from importlib.metadata import version
from typing import TYPE_CHECKING

from vxdist.errors import DONE, STOPPED, USER_ERROR, Stopped, UserError

if TYPE_CHECKING:
    from vxdist.config import Config

STAGES = {
    "locate": "record how often each neuron is active, per value and language",
    "reduce": "score neurons by entropy and select those of each value",
    "evaluate": "ablate the selected neurons and score the dilemmas again",
    "report": "write an HTML page of what was found",
}
RUN = ("run", "locate, reduce, evaluate and report, one after the other")
OTHERS = {
    "corpus": ("corpus", "check, build or import a corpus"),
    "import": ("importing", "import activation counts recorded by other software"),
    "models": ("models", "list the models that are supported, or describe one"),
    "estimate": ("estimate", "estimate the memory, hours and disk space that a run needs"),
}
"""Commands with options of their own, and the packages they are in."""
ALIASES = {"plan": "estimate"}
"""Commands by names of earlier versions."""

EXTRAS = {
    **dict.fromkeys(("json_repair", "openai", "py3langid"), "build"),
    **dict.fromkeys(("python_calamine", "rensa", "sklearn"), "build"),
    "datasets": "huggingface",
    "pyarrow": "parquet",
}
"""Extras that a missing package is in, where that is not `run`."""
NOT_WRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code (0 done, 2 a user error, 3 stopped)."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        if arguments in ([], ["-h"], ["--help"]):
            print(_usage())
        elif arguments == ["--version"]:
            print(f"vxdist {version('vxdist')}")
        else:
            _run(arguments[0], arguments[1:])
        sys.stdout.flush()
    except BrokenPipeError:  # whoever read, such as `head`, has gone; the work may not be done
        from vxstore.cli.output import drop_output

        drop_output()
        return STOPPED
    except (Stopped, KeyboardInterrupt) as error:
        print(str(error) or "stopped; the same command goes on from here", file=sys.stderr)
        return STOPPED
    except (UserError, ModuleNotFoundError, OSError) as error:
        message = _describe(error)
        if message is None:
            raise
        print(f"error: {message}", file=sys.stderr)
        return USER_ERROR
    return DONE if arguments else USER_ERROR


def _describe(error: Exception) -> str | None:
    """One line on an error that the user can fix; None if it is a fault of vxdist."""
    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, ModuleNotFoundError):
        if error.name is None or error.name.partition(".")[0] in ("vxdist", "vxstore"):
            return None
        extra = EXTRAS.get(error.name.partition(".")[0], "run")
        return (
            f"the Python package {error.name} is not installed; install vxdist with its extra "
            f"`{extra}`, as the README says"
        )
    if isinstance(error, OSError) and error.errno in NOT_WRITABLE:
        return (
            f"{error.filename or 'the disk'}: {error.strerror}; what is recorded is kept: make "
            "room, or make it writable, and run the same command again"
        )
    return None


def _run(command: str, arguments: Sequence[str]) -> None:
    command = ALIASES.get(command, command)
    known = (*STAGES, RUN[0], *OTHERS)
    if command not in known:
        near = difflib.get_close_matches(command, known, n=1, cutoff=0.0)[0]
        raise UserError(f"no command {command!r}; did you mean {near}? See vxdist --help")
    if command in OTHERS:
        importlib.import_module(f"vxdist.{OTHERS[command][0]}.command").run(arguments)
        return
    from vxdist.api import run_stages
    from vxdist.output import Output
    from vxdist.settings import parse

    config = parse(command, arguments)
    if command != RUN[0]:
        run_stages(config, [command], Output())
        return
    _check_alone(config)
    run_stages(config, list(STAGES), Output())
    from vxdist.report.summary import print_summary

    print_summary(config)


def _check_alone(config: "Config") -> None:
    from vxdist.runtime.launch import find_launch

    if find_launch(config.trainer).world_size > 1:
        raise UserError(
            "vxdist run is for one process; with several, start launch/locate.py, reduce.py, "
            "evaluate.py and report.py in turn"
        )


def _usage() -> str:
    lines = ["usage: vxdist COMMAND --config FILE [--section.key VALUE ...]", "", "commands:"]
    lines += [f"  {name:9} {text}" for name, text in (*STAGES.items(), RUN)]
    lines += [f"  {name:9} {text}" for name, (_, text) in OTHERS.items()]
    lines += [
        "",
        "`vxdist COMMAND --help` lists every setting; `vxdist COMMAND --config FILE",
        "--print_config` prints the settings as resolved. corpus, import, models and estimate have",
        "options of their own: `vxdist import --help`. See `vxstore --help` for queries.",
    ]
    return "\n".join(lines)

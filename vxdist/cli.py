"""The `vxdist` command. A stage is imported only when it is called."""

import contextlib
import difflib
import errno
import importlib
import os
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from vxdist import __version__
from vxdist.errors import DONE, STOPPED, USER_ERROR, Stopped, UserError

if TYPE_CHECKING:
    from vxdist.config import Config

STAGES = {
    "locate": "record how often each neuron is active, per value and language",
    "reduce": "score neurons by entropy and select those of each value",
    "evaluate": "switch the selected neurons off and score the dilemmas again",
    "report": "write the page a person looks at",
}
RUN = ("run", "locate, reduce, evaluate and report, one after the other")
OTHERS = {
    "corpus": ("corpus", "check, build or import a corpus"),
    "import": ("importing", "make a store of counts that other software recorded"),
    "models": ("models", "list the models that are supported, or describe one"),
    "plan": ("estimate", "say what a run will need, before it is paid for"),
}
"""Commands with options of their own, and the packages they are in."""

EXTRAS = {
    **dict.fromkeys(("json_repair", "openai", "py3langid"), "build"),
    **dict.fromkeys(("python_calamine", "rensa", "sklearn"), "build"),
    "datasets": "huggingface",
    "pyarrow": "parquet",
}
"""Extras that a missing package is in, where that is not `run`."""
NOT_WRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code (0 done, 2 the user can mend it, 3 stopped)."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments in ([], ["-h"], ["--help"]):
        print(_usage())
        return DONE if arguments else USER_ERROR
    if arguments == ["--version"]:
        print(f"vxdist {__version__}")
        return DONE
    try:
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
        message = _mendable(error)
        if message is None:
            raise
        print(f"error: {message}", file=sys.stderr)
        return USER_ERROR
    return DONE


def _mendable(error: Exception) -> str | None:
    """What the user can do about an error; None if it is ours."""
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
    known = (*STAGES, RUN[0], *OTHERS)
    if command not in known:
        near = difflib.get_close_matches(command, known, n=1, cutoff=0.0)[0]
        raise UserError(f"no command {command!r}; did you mean {near}? See vxdist --help")
    if command in OTHERS:
        importlib.import_module(f"vxdist.{OTHERS[command][0]}.command").run(arguments)
        return
    # Read when torch loads OpenMP. Threads that wait spin by default, and where processes share
    # cores they spin against each other: a tenth of the speed.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from vxdist.settings import parse, save_settings

    config = parse(command, arguments)
    if config.trainer.accelerator == "cpu":
        # Else DeepSpeed, where it is installed, looks for a GPU and warns that there is none.
        os.environ.setdefault("DS_ACCELERATOR", "cpu")
    stages = list(STAGES) if command == RUN[0] else [command]
    if command == RUN[0]:
        from vxdist.runtime.launch import find_launch

        if find_launch(config.trainer).world_size > 1:
            raise UserError(
                "vxdist run is for one process; with several, start launch/locate.py, reduce.py, "
                "evaluate.py and report.py in turn"
            )
    with _writer(config, stages):
        for stage in stages:
            importlib.import_module(f"vxdist.{stage}.stage").run(config)
            save_settings(config, stage)
    if command == RUN[0]:
        from vxdist.report.summary import print_summary

        print_summary(config)


def _writer(config: "Config", stages: Sequence[str]) -> AbstractContextManager[None]:
    """The store's lock, for rank 0 of a run that writes it; the other ranks belong to that run."""
    from vxdist.ranks import is_first_rank
    from vxstore.io.lock import hold

    if stages == ["report"] or not is_first_rank():
        return contextlib.nullcontext()
    return hold(config.store, take_over=config.take_over)


def _usage() -> str:
    lines = ["usage: vxdist COMMAND --config FILE [--section.key VALUE ...]", "", "commands:"]
    lines += [f"  {name:9} {text}" for name, text in (*STAGES.items(), RUN)]
    lines += [f"  {name:9} {text}" for name, (_, text) in OTHERS.items()]
    lines += [
        "",
        "`vxdist COMMAND --help` lists every setting; `vxdist COMMAND --config FILE",
        "--print_config` prints the settings as resolved. corpus, import, models and plan have",
        "options of their own: `vxdist import --help`. `vxstore --help` tells of queries.",
    ]
    return "\n".join(lines)

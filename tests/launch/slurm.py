"""Enough of Slurm for one machine: `srun`, `scancel` and `scontrol` as a batch script sees them.

Run as `python slurm.py NAME ARGUMENT...`. Every task is its own "node". What matters here is as in
Slurm itself: srun that is sent SIGTERM kills its tasks, and SIGUSR1 it passes on to every process
of them; scancel --signal reaches every process of the job's steps, and not the batch shell.
`slurm.py lose [RANK=1]` is no command of Slurm's: what runs on the nodes is killed, or this rank.
"""

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import FrameType


def send(number: int, *environ: str) -> None:
    """Signal every process of this job's steps; of those, the ones with `environ`."""
    job = f"FAKE_SLURM={os.environ['FAKE_SLURM']}"
    mine = {text.encode() for text in (job, "SLURM_STEP_ID=0", *environ)}
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if mine <= set((process / "environ").read_bytes().split(b"\0")):
                os.kill(int(process.name), number)


def srun(arguments: list[str]) -> int:
    """Run a command once for each node, or --ntasks=N times; the largest exit code."""
    tasks = int(os.environ["SLURM_JOB_NUM_NODES"])
    while arguments[0].startswith("--"):
        option, _, value = arguments.pop(0).partition("=")
        assert option in ("--nodes", "--ntasks", "--ntasks-per-node"), option
        tasks = int(value)

    def on_signal(number: int, _: FrameType | None) -> None:
        send(number if number == signal.SIGUSR1 else signal.SIGKILL)

    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1):
        signal.signal(number, on_signal)
    started = [
        subprocess.Popen(
            arguments,
            start_new_session=True,
            env={
                **os.environ,
                "SLURM_STEP_ID": "0",
                "SLURM_NTASKS": str(tasks),
                "SLURM_NTASKS_PER_NODE": "1",
                "SLURM_NNODES": str(tasks),
                "SLURM_PROCID": str(task),
                "SLURM_NODEID": str(task),
                "SLURM_LOCALID": "0",
            },
        )
        for task in range(tasks)
    ]
    codes = [task.wait() for task in started]
    return max(code if code >= 0 else 128 - code for code in codes)


def scancel(arguments: list[str]) -> int:
    """Signal the job's steps."""
    assert arguments == ["--signal=TERM", os.environ["SLURM_JOB_ID"]], arguments
    send(signal.SIGTERM)
    return 0


def scontrol(arguments: list[str]) -> int:
    """Name the nodes, or take a requeue down."""
    if arguments[:2] == ["show", "hostnames"]:
        print(*arguments[2].split(","), sep="\n")
        return 0
    assert arguments == ["requeue", os.environ["SLURM_JOB_ID"]], arguments
    print("scontrol: requeued")
    return 0


def lose(arguments: list[str]) -> int:
    """Kill what runs on the nodes."""
    send(signal.SIGKILL, *arguments)
    return 0


if __name__ == "__main__":
    command = {"srun": srun, "scancel": scancel, "scontrol": scontrol, "lose": lose}[sys.argv[1]]
    sys.exit(command(sys.argv[2:]))

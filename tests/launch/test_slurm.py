"""The batch script is run, with a Slurm of one machine in place of a cluster's (slurm.py)."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

import vxstore
from vxdist.cli import main

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "launch" / "slurm" / "locate.sbatch"
SLURM = Path(__file__).with_name("slurm.py")

Submit = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def job(tmp_path: Path) -> Path:
    """A folder for what Slurm keeps of a job, with its commands in bin/."""
    folder = tmp_path / "job"
    (folder / "bin").mkdir(parents=True)
    for name in ("srun", "scancel", "scontrol"):
        command = folder / "bin" / name
        command.write_text(f'#!/bin/sh\nexec {sys.executable} -S -E {SLURM} {name} "$@"\n')
        command.chmod(0o755)
    return folder


@pytest.fixture
def environ(job: Path) -> dict[str, str]:
    """What Slurm tells a batch script of two "nodes", one process each."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        number = 70000 + probe.getsockname()[1] % 10000
    return {
        **os.environ,
        "PATH": f"{job / 'bin'}:{os.environ['PATH']}",
        "FAKE_SLURM": str(job),
        "VENV": sys.prefix,
        "SLURM_SUBMIT_DIR": str(ROOT),
        "SLURM_CLUSTER_NAME": "test",
        "SLURM_JOB_ID": str(number),
        "SLURM_NODELIST": "localhost,localhost",
        "SLURM_JOB_NODELIST": "localhost,localhost",
        "SLURM_JOB_NUM_NODES": "2",
        "SLURM_NTASKS": "2",
        "SLURM_PROCID": "0",
    }


@pytest.fixture
def submit(job: Path, environ: dict[str, str]) -> Iterator[Submit]:
    """Run the script, or another command, as Slurm would."""
    running: list[subprocess.Popen[str]] = []

    def run(
        *arguments: str,
        attempt: int = 0,
        command: Sequence[str] = ("bash", str(SCRIPT)),
        **more: str,
    ) -> subprocess.Popen[str]:
        count = {"SLURM_RESTART_COUNT": str(attempt)} if attempt else {}
        process = subprocess.Popen(
            [*command, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**environ, **count, **more},
            cwd=ROOT,
        )
        running.append(process)
        return process

    yield run
    for process in running:
        process.kill()
        process.wait()
    lose(job)


def lose(job: Path, *which: str) -> None:
    """Kill every process of the job's steps, or a rank."""
    environ = {**os.environ, "FAKE_SLURM": str(job)}
    subprocess.run([sys.executable, SLURM, "lose", *which], env=environ, check=True)


def sealed(store: Path) -> int:
    """Parts sealed so far."""
    marks = store / "record" / "sealed" / "c"
    return len(list(marks.iterdir())) if marks.is_dir() else 0


def await_parts(process: subprocess.Popen[str], store: Path, parts: int) -> None:
    """Until so many parts are sealed."""
    while sealed(store) < parts:
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.01)


def end(process: subprocess.Popen[str], code: int = 0) -> str:
    """What the script said, once it has ended as expected."""
    output, _ = process.communicate(timeout=300)
    assert process.returncode == code, output
    return output


@pytest.fixture
def slow_options(slow_folder: Path, run_options: list[str], tmp_path: Path) -> list[str]:
    """Options of a run that lasts long enough to be stopped; its store is tmp_path/slow.zarr."""
    fewer = ["--corpus.values", "[kindness,candour]"]
    store = str(tmp_path / "slow.zarr")
    return ["--model.path", str(slow_folder), *fewer, *run_options[2:-1], store]


@pytest.mark.long
def test_all_four_stages_on_two_nodes(
    submit: Submit, run_options: list[str], tmp_path: Path
) -> None:
    assert main(["locate", *run_options]) == 0
    store = tmp_path / "two.zarr"
    output = end(submit("run", *run_options[:-1], str(store)))
    # Of two agents of torchrun the one that leaves first may take the other's rendezvous along;
    # what that one then logs is no fault of the run.
    ours = [line for line in output.splitlines() if "torch/distributed/elastic" not in line]
    assert not any("Traceback" in line for line in ours)
    assert store.with_suffix(".html").exists()
    found, alone = (vxstore.open(str(path)) for path in (store, tmp_path / "run.zarr"))
    assert found.root().load().equals(alone.root().load())
    assert found.names("scores") == ["vape"]
    assert found.names("evaluation") == ["choice"]


def test_plain_srun(submit: Submit, run_options: list[str], tmp_path: Path) -> None:
    """Without torchrun: each task is a rank."""
    store = tmp_path / "two.zarr"
    command = ("srun", sys.executable, "launch/locate.py")
    output = end(submit(*run_options[:-1], str(store), command=command))
    assert output.count(f"24 parts, 5,484 tokens recorded in {store}") == 1, output
    assert vxstore.open(str(store)).complete


def test_stopped_ahead_of_the_limit_then_nodes_lost_then_a_rank(
    submit: Submit, slow_options: list[str], job: Path, tmp_path: Path
) -> None:
    """Each time the same script goes on where it was, at last on another node and by itself."""
    store, lock = tmp_path / "slow.zarr", tmp_path / "slow.lock"
    first = submit("locate", *slow_options)
    await_parts(first, store, 2)
    first.send_signal(signal.SIGUSR1)
    output = end(first)
    assert "scontrol: requeued" in output
    assert output.count("run the same command again") == 2, "both ranks stop in order"
    assert not lock.exists()
    done = sealed(store)
    assert 2 <= done < 16

    second = submit("locate", *slow_options, attempt=1)
    await_parts(second, store, done + 2)
    second.kill()
    lose(job)
    second.wait()
    held = json.loads(lock.read_text())
    assert held["attempt"] == 1
    lock.write_text(json.dumps({**held, "host": "node-that-is-lost"}))

    third = submit("locate", *slow_options, attempt=2)
    await_parts(third, store, sealed(store) + 2)
    lose(job, "RANK=1")
    output = end(third)
    assert "scontrol" not in output
    assert len(re.findall(r"resuming: \d+ of 16 parts are missing", output)) == 2
    assert vxstore.open(str(store)).complete
    assert not lock.exists()


@pytest.mark.parametrize(
    ("stage", "attempt", "dies", "code", "said"),
    [
        ("locate", 2, 1, 0, "scontrol: requeued"),
        ("locate", 3, 1, 1, "error: requeued 3 times and still not done; submit it again"),
        ("locate", 2, 0, 0, ""),
        ("run", 2, 0, 0, "scontrol: requeued"),
    ],
)
def test_requeued_if_anything_is_left_but_not_for_ever(
    submit: Submit, job: Path, stage: str, attempt: int, dies: int, code: int, said: str
) -> None:
    """If torchrun is asked to stop, it may have just finished, and other stages may follow."""
    torchrun = job / "venv" / "bin" / "torchrun"
    torchrun.parent.mkdir(parents=True)
    torchrun.write_text(f"#!/bin/bash\ntrap 'exit {dies}' TERM\ntouch {job}/on\nsleep 60 & wait\n")
    torchrun.chmod(0o755)
    process = submit(stage, attempt=attempt, VENV=str(job / "venv"), REQUEUES="3")
    while not (job / "on").exists():
        time.sleep(0.01)
    process.send_signal(signal.SIGUSR1)
    output = end(process, code)
    assert said in output
    assert ("scontrol" in output) == ("scontrol" in said)


def test_what_fails_is_not_requeued(submit: Submit, run_options: list[str]) -> None:
    output = end(submit("reduce", *run_options), code=2)
    assert "error: " in output
    assert "scontrol" not in output
    assert "usage: sbatch" in end(submit("locat", *run_options), code=2)
    assert "usage: sbatch" in end(submit(), code=2)


def test_shellcheck_has_nothing_to_say() -> None:
    shellcheck = Path(sys.prefix) / "bin" / "shellcheck"
    done = subprocess.run([shellcheck, SCRIPT], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_what_slurm_is_asked_for() -> None:
    """Before the first command, or Slurm reads no more of it."""
    head = SCRIPT.read_text().split("set -euo", 1)[0].splitlines()
    assert head[0] == "#!/bin/bash"
    asked = dict(
        line.removeprefix("#SBATCH --").partition("=")[::2]
        for line in head
        if line.startswith("#SBATCH")
    )
    assert all(line.startswith("#") or not line for line in head)
    assert asked["ntasks-per-node"] == "1", "one torchrun on each node"
    assert asked["signal"] == "B:USR1@300", "to the batch shell, which passes it on"
    assert {"requeue", "open-mode"} <= set(asked)

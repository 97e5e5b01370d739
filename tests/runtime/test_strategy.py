"""Number of processes, as launchers report it; and what is refused."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import xarray as xr

from vxdist.cli import main
from vxdist.config import TrainerConfig
from vxdist.errors import UserError
from vxdist.ranks import find_rank
from vxdist.runtime.launch import find_launch
from vxdist.runtime.strategy import describe_idle, resolve_strategy

ROOT = Path(__file__).parents[2]
TORCHRUN = {
    "TORCHELASTIC_RUN_ID": "x",
    "RANK": "5",
    "LOCAL_RANK": "1",
    "LOCAL_WORLD_SIZE": "4",
    "WORLD_SIZE": "8",
}
SRUN = {
    "SLURM_JOB_ID": "41",
    "SLURM_JOB_NAME": "locate",
    "SLURM_STEP_ID": "0",
    "SLURM_NTASKS": "6",
    "SLURM_NTASKS_PER_NODE": "3",
    "SLURM_NNODES": "2",
    "SLURM_NODEID": "1",
    "SLURM_PROCID": "4",
    "SLURM_LOCALID": "1",
}
ONE_TASK = {"SLURM_NTASKS": "1", "SLURM_NNODES": "1", "SLURM_PROCID": "0"}


@pytest.mark.parametrize(
    ("environ", "rank", "devices", "num_nodes"),
    [
        ({}, 0, 1, 1),
        (TORCHRUN, 5, 4, 2),
        (SRUN, 4, 3, 2),
        ({**SRUN, **TORCHRUN}, 5, 4, 2),  # srun started one torchrun on each node
        ({**SRUN, "SLURM_JOB_NAME": "bash"}, 0, 1, 1),  # srun --pty bash
        ({**SRUN, "SLURM_JOB_NAME": "interactive"}, 0, 1, 1),  # salloc
        (ONE_TASK, 0, 1, 1),  # sbatch, and plain python in it
    ],
)
def test_launchers(environ: dict[str, str], rank: int, devices: int, num_nodes: int) -> None:
    launch = find_launch(TrainerConfig(), environ)
    assert (launch.rank, launch.devices, launch.num_nodes) == (rank, devices, num_nodes)
    assert find_rank(environ) == rank
    asked = TrainerConfig(devices=devices, num_nodes=num_nodes)
    assert find_launch(asked, environ) == launch


def test_processes_that_lightning_starts() -> None:
    config = TrainerConfig(devices=3)
    assert find_launch(config, {}).world_size == 3
    child = {"LOCAL_RANK": "2", "WORLD_SIZE": "3"}
    assert (find_launch(config, child).rank, find_launch(config, child).world_size) == (2, 3)


@pytest.mark.parametrize(
    ("config", "environ", "message"),
    [
        (TrainerConfig(devices=2), TORCHRUN, "trainer.devices: 2, but torchrun started 4"),
        (TrainerConfig(num_nodes=1), TORCHRUN, "trainer.num_nodes: 1, but torchrun started 2"),
        (TrainerConfig(devices=1), SRUN, "trainer.devices: 1, but Slurm started 3"),
        (TrainerConfig(num_nodes=3), SRUN, "trainer.num_nodes: 3, but Slurm started 2"),
        (TrainerConfig(devices=4), ONE_TASK, "trainer.devices: 4, but Slurm started 1"),
        (TrainerConfig(num_nodes=2), {}, "neither torchrun nor srun started this process"),
        (TrainerConfig(devices=2), {"WORLD_SIZE": "4"}, "devices: 2, but WORLD_SIZE is 4"),
        (
            TrainerConfig(),
            {**TORCHRUN, "WORLD_SIZE": "7"},
            "torchrun started 7 processes on 1 nodes, 4 of them on this one",
        ),
        (TrainerConfig(), {**SRUN, "SLURM_NTASKS": "5"}, "Slurm started 5 processes on 2 nodes"),
        (
            TrainerConfig(),
            {key: value for key, value in SRUN.items() if key != "SLURM_NTASKS_PER_NODE"},
            "use srun --ntasks-per-node 3",
        ),
        (
            TrainerConfig(),
            {key: value for key, value in SRUN.items() if key != "SLURM_STEP_ID"},
            "Slurm gave this job 6 tasks, but this command was started once; put srun or torchrun",
        ),
    ],
)
def test_disagreement_is_refused(
    config: TrainerConfig, environ: dict[str, str], message: str
) -> None:
    with pytest.raises(UserError) as refusal:
        find_launch(config, environ)
    assert message in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_what_cannot_be() -> None:
    two = find_launch(TrainerConfig(devices=2), {})
    for config, message in (
        (TrainerConfig(strategy="single"), "trainer.strategy: single, but there are 2 processes"),
        (TrainerConfig(peer_timeout=0.5), "trainer.peer_timeout: 0.5 must be at least 1 second"),
    ):
        with pytest.raises(UserError, match=message):
            resolve_strategy(config, two)
    assert resolve_strategy(TrainerConfig(), two) == "ddp"


def test_idle_ranks_are_named() -> None:
    assert describe_idle([[4], [1, 2]], "part") is None
    assert describe_idle([[4], []], "part") == (
        "1 part left for 2 ranks, so rank 1 will be idle; fewer processes are enough"
    )
    line = describe_idle([[], [1], [], [], [], [2], []], "condition")
    assert line is not None
    assert "2 conditions left for 7 ranks, so ranks 0, 2-4, 6 will be idle" in line


@pytest.mark.long
def test_srun_without_torchrun(run_options: list[str], tmp_path: Path) -> None:
    """Two tasks, started as srun starts them: the same bits; more tasks than parts is no error."""
    few = [*run_options, "--locate.parts_per_group", "1", "--corpus.values", "[thrift]"]
    few += ["--corpus.languages", "[en]"]
    assert main(["locate", *few]) == 0
    tasks = []
    for rank in range(3):
        slurm = {**SRUN, "SLURM_NTASKS": "3", "SLURM_NNODES": "1", "SLURM_NODEID": "0"}
        slurm |= {"SLURM_PROCID": str(rank), "SLURM_LOCALID": str(rank)}
        slurm |= {"SLURM_JOB_ID": str(os.getpid()), "SLURM_NODELIST": "127.0.0.1"}
        command = [sys.executable, str(ROOT / "launch" / "locate.py"), *few]
        tasks.append(
            subprocess.Popen(
                [*command, "--store", str(tmp_path / "srun.zarr")],
                cwd=ROOT,
                env={**os.environ, **slurm},
                text=True,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
            )
        )
    outputs = [task.communicate(timeout=240)[0] for task in tasks]
    assert [task.returncode for task in tasks] == [0, 0, 0], outputs
    idle = "warning: 2 parts left for 3 ranks, so rank 2 will be idle"
    assert [idle in output for output in outputs] == [True, False, False], outputs
    one, many = (xr.open_zarr(tmp_path / f"{name}.zarr").load() for name in ("run", "srun"))
    assert one.equals(many)

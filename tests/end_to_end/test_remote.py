"""A store on S3: a real server process on loopback, a run killed and resumed, and questions."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.request import urlopen

import pytest
import xarray as xr

import vxstore
from vxdist.cli import main
from vxstore.cli.main import main as vxstore_main
from vxstore.io.lock import hold

ROOT = Path(__file__).parents[2]
BUCKET = "research"


@pytest.fixture(scope="module")
def s3() -> Iterator[None]:
    """An S3 server, and the environment that leads to it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    server = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", address)
        patch.setenv("AWS_ACCESS_KEY_ID", "test")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "test")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        try:
            _wait_for(address, server)
            import boto3

            boto3.client("s3").create_bucket(Bucket=BUCKET)
            yield
        finally:
            server.kill()
            server.wait()


def _wait_for(address: str, server: "subprocess.Popen[bytes]") -> None:
    for _ in range(600):
        assert server.poll() is None
        try:
            urlopen(address, timeout=5).close()
            return
        except OSError:
            time.sleep(0.1)
    raise AssertionError("the S3 server did not start within a minute")


def at(options: list[str], url: str) -> list[str]:
    """The same run with another store."""
    return [*options[:-1], url]


def sealed(url: str) -> int:
    """Parts sealed so far; none if the store is not there yet."""
    try:
        return int(vxstore.open(url).record()["sealed"].values.sum())
    except vxstore.StoreError:
        return 0


@pytest.mark.long
@pytest.mark.usefixtures("s3")
def test_killed_and_resumed_on_s3(
    run_options: list[str],
    slow_folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """By two ranks, both killed; then by one: the same bits as on a disk."""
    slow = ["--model.path", str(slow_folder), *run_options[2:]]
    assert main(["locate", *slow]) == 0
    url = f"s3://{BUCKET}/killed.zarr"
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    command += ["--rdzv-backend", "c10d", "--rdzv-endpoint", "127.0.0.1:0"]
    command += [str(ROOT / "launch" / "locate.py"), *at(slow, url)]
    run = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while sealed(url) < 3:
        assert run.poll() is None
        time.sleep(0.05)
    subprocess.run(["pkill", "-KILL", "-f", url], check=True)
    run.wait()
    assert 3 <= sealed(url) < 24

    capsys.readouterr()
    assert main(["locate", *at(slow, url)]) == 0
    assert "resuming: " in capsys.readouterr().out
    alone, remote = vxstore.open(str(tmp_path / "run.zarr")), vxstore.open(url)
    assert alone.root().load().equals(remote.root().load())
    assert main(["locate", *at(slow, url)]) == 0
    assert "recorded already" in capsys.readouterr().out


@pytest.mark.usefixtures("s3")
def test_scores_and_questions_on_s3(
    run_options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    url = f"s3://{BUCKET}/runs/road.zarr"
    options = at(run_options, url)
    assert main(["locate", *options]) == 0
    assert main(["reduce", *options]) == 0
    assert xr.open_zarr(url).active_count.sel(value="thrift", language="zh").sizes["layer"] == 3
    capsys.readouterr()
    assert vxstore_main(["info", url, "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["parts"] == {"sealed": 24, "total": 24}
    assert vxstore_main(["top", url, "--k", "2", "--format", "csv"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 1 + 2 * 2
    assert vxstore_main(["check", url]) == 0
    with hold(url):
        assert main(["reduce", *options]) == 2
    assert f"process {os.getpid()}" in capsys.readouterr().err


@pytest.mark.usefixtures("s3")
def test_a_bucket_that_is_not_there(
    run_options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["locate", *at(run_options, "s3://nowhere-to-be-found/run.zarr")]) == 2
    told = capsys.readouterr().err.strip().splitlines()[-1]
    assert told.startswith("error: s3://nowhere-to-be-found")
    assert vxstore_main(["info", "s3://nowhere-to-be-found/run.zarr"]) == 2


def test_the_road_in_memory(run_options: list[str], tmp_path: Path) -> None:
    options = [
        *at(run_options, "memory://road/run.zarr"),
        "--report.path",
        str(tmp_path / "p.html"),
    ]
    assert main(["run", *options]) == 0
    assert main(["locate", *run_options]) == 0
    remote = vxstore.open("memory://road/run.zarr").root().load()
    assert remote.equals(vxstore.open(str(tmp_path / "run.zarr")).root().load())

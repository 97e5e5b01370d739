"""A server in a separate process, and the options of a small build."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

VALUES = {
    "calm": {
        "zh": {"name": "平静", "meaning": "不慌。"},
        "en": {"name": "Calm", "meaning": "No haste."},
    },
    "zeal": {
        "zh": {"name": "热忱", "meaning": "用心。"},
        "en": {"name": "Zeal", "meaning": "Care."},
    },
}
Serve = Callable[..., str]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Start a server with faults; returns its address."""
    running = []

    def start(*faults: str) -> str:
        port = tmp_path / f"port{len(running)}"
        file = Path(__file__).with_name("server.py")
        words = [sys.executable, str(file), str(port), str(tmp_path / "log"), *faults]
        running.append(subprocess.Popen(words, stderr=subprocess.DEVNULL))
        for _ in range(1200):
            if port.exists():
                return f"http://127.0.0.1:{port.read_text()}/v1"
            time.sleep(0.05)
        raise AssertionError("the server did not start")

    yield start
    for process in running:
        process.kill()
        process.wait()


@pytest.fixture
def options(tmp_path: Path) -> Callable[..., list[str]]:
    """Options of a small build into tmp_path/out."""
    (tmp_path / "values.yaml").write_text(yaml.safe_dump(VALUES, allow_unicode=True))

    def make(url: str, **others: object) -> list[str]:
        given = {
            "out": tmp_path / "out", "base_url": url, "model": "tiny", "retries": 4,
            "values": tmp_path / "values.yaml", "stories_per_value": 3, "dilemmas_per_value": 2,
            "progress_seconds": 1, "attempts": 20,
        } | others  # fmt: skip
        return ["corpus", "build", *(f"--build.{name}={text}" for name, text in given.items())]

    return make

"""Serve a model on this machine through an OpenAI-compatible API, while a client is connected.

    python -m vxdist.model.serve MODEL PORT

MODEL is anything that `model.path` accepts. The server is `transformers serve`; the line `serving
FOLDER` gives the name under which it serves the model. It ends when standard input is closed, so
that it does not outlive a client that was killed, and on SIGTERM.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

from vxdist.errors import STOPPED, USER_ERROR, UserError

GRACE = 10.0
"""Seconds that the server has to end before it is killed; it would finish answers nobody reads."""


def main() -> None:
    """Serve until standard input is closed or the server ends."""
    path, port = sys.argv[1:]
    threading.Thread(target=_end_with_input, daemon=True).start()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(STOPPED))
    from vxdist.config import ModelConfig
    from vxdist.model.source import find_model

    try:
        folder = find_model(ModelConfig(path=path)).directory
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(USER_ERROR)
    with tempfile.TemporaryDirectory(prefix="vxdist-serve-") as view:
        enable_sampling(folder.resolve(), Path(view))
        program = str(Path(sys.executable).with_name("transformers"))
        command = [program, "serve", view, "--host", "127.0.0.1", "--port", port]
        server = subprocess.Popen(command, stdout=sys.stderr)
        try:
            print(f"serving {view}", flush=True)
            code = server.wait()
        finally:
            _end(server)
    sys.exit(code)


def _end_with_input() -> None:
    sys.stdin.read()
    os.kill(os.getpid(), signal.SIGTERM)


def _end(server: "subprocess.Popen[bytes]") -> None:
    server.terminate()
    try:
        server.wait(GRACE)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()


def enable_sampling(folder: Path, view: Path) -> None:
    """Make `view` a folder with the same model as `folder`, but with sampling turned on.

    Unless its generation_config.json turns sampling on, a model always takes the likeliest token,
    whatever the temperature, and answers the same question in the same words every time.
    """
    name = "generation_config.json"
    for file in folder.iterdir():
        if file.name != name:
            (view / file.name).symlink_to(file)
    settings = json.loads((folder / name).read_text("utf-8")) if (folder / name).is_file() else {}
    (view / name).write_text(json.dumps(settings | {"do_sample": True}), encoding="utf-8")


if __name__ == "__main__":
    main()

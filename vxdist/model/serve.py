"""A model behind an OpenAI-compatible address on this machine, for as long as somebody listens.

    python -m vxdist.model.serve MODEL PORT

MODEL is anything that `model.path` takes. The server is `transformers serve`; the line `serving
FOLDER` tells the name that it knows the model by. It ends when standard input does, so that it does
not outlive a process that was killed, and when it is asked to by SIGTERM.
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
"""Seconds that the server has to end: it would wait for an answer that nobody will read."""


def main() -> None:
    """Serve, until standard input or the server ends."""
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
        show_sampling(folder.resolve(), Path(view))
        program = str(Path(sys.executable).with_name("transformers"))
        server = subprocess.Popen([program, "serve", view, "--port", port], stdout=sys.stderr)
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


def show_sampling(folder: Path, view: Path) -> None:
    """Make `view` show the model of `folder`, told to draw its words.

    A model whose generation_config.json does not say so takes the likeliest word whatever the
    temperature, and answers a question that is asked again in the same words.
    """
    name = "generation_config.json"
    for file in folder.iterdir():
        if file.name != name:
            (view / file.name).symlink_to(file)
    told = json.loads((folder / name).read_text("utf-8")) if (folder / name).is_file() else {}
    (view / name).write_text(json.dumps(told | {"do_sample": True}), encoding="utf-8")


if __name__ == "__main__":
    main()

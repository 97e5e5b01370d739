"""Real processes of torchrun and vxdist that need not import torch: forks of one that has.

    warm.py serve SOCKET          import once, then fork for whoever asks
    warm.py ask SOCKET KIND ...   have an `agent` (torchrun) or a `rank` (vxdist locate) forked;
                                  pass signals on, and end as it ends

A fork gets the asker's environment, folder and output, a session of its own, and writes its
process number to $WARM_PIDS/agent or $WARM_PIDS/rankN. A `vxdist` or a `vxstore` (forked.py asks
for them) can be broken off in a given moment:

    WARM_AT=kill:K    by SIGKILL, before the Kth file below the folder $WARM_UNDER is touched
    WARM_AT=term:K    by SIGTERM, and int:K by SIGINT, in the same moment
    WARM_AT=stop:K    by SIGSTOP, before the Kth reading of a lock there
    WARM_AT=count:F   not at all: how many of each there were is written to the file F, as JSON
"""

import importlib
import json
import os
import select
import signal
import socket
import sys
import threading
import time

IMPORTED = (
    "torch.distributed.run",
    "transformers.models.llama.modeling_llama",
    "vxdist.apply.checkpoint",
    "vxdist.attribute.stage",
    "vxdist.cli",
    "vxdist.corpus.builder.client",
    "vxdist.corpus.builder.command",
    "vxdist.evaluate.stage",
    "vxdist.importing.command",
    "vxdist.importing.lape",
    "vxdist.locate.stage",
    "vxdist.model.load",
    "vxdist.reduce.select",
    "vxdist.report.stage",
    "vxdist.runtime.loop",
    "vxdist.settings",
    "vxstore.cli.commands",
)
SIGNALS = {
    "kill": signal.SIGKILL,
    "term": signal.SIGTERM,
    "int": signal.SIGINT,
    "stop": signal.SIGSTOP,
}
TOUCHES = ("os.rename", "os.link", "os.remove", "os.rmdir", "os.mkdir", "os.truncate")
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT


def serve(address: str) -> None:
    """Import all that a run imports; fork, and go on."""
    for name in IMPORTED:
        importlib.import_module(name)
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(address)
    listening.listen()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for those that serve
    while True:
        asker, _ = listening.accept()
        if os.fork() == 0:
            listening.close()
            serve_one(asker)
        asker.close()


def serve_one(asker: socket.socket) -> None:
    """Fork what was asked for, and tell how it ended. Does not return."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    message, outputs, _, _ = socket.recv_fds(asker, 1 << 20, 2)
    wanted = json.loads(message)
    process = os.fork()
    if process == 0:
        asker.close()
        os.setsid()
        for number, output in zip((1, 2), outputs, strict=True):
            os.dup2(output, number)
            os.close(output)
        become(wanted)
    asker.send(f"{process}\n".encode())
    over = os.pidfd_open(process)
    if over not in select.select([over, asker], [], [])[0]:
        os.kill(process, signal.SIGKILL)  # the asker is gone
    _, status = os.waitpid(process, 0)
    try:
        asker.send(f"{os.waitstatus_to_exitcode(status)}\n".encode())
    finally:
        os._exit(0)


def become(wanted: dict[str, object]) -> None:
    """Be the process that was asked for."""
    from vxdist.cli import main

    kind, arguments, environ = wanted["kind"], wanted["arguments"], wanted["environ"]
    assert isinstance(arguments, list)
    assert isinstance(environ, dict)
    os.chdir(str(wanted["folder"]))
    os.environ.clear()
    os.environ.update(environ)
    if kind in ("agent", "rank"):
        name = f"rank{environ['RANK']}" if kind == "rank" else "agent"
        with open(f"{environ['WARM_PIDS']}/{name}", "w", encoding="ascii") as opened:
            opened.write(str(os.getpid()))
    count = break_off(*str(environ["WARM_AT"]).split(":", 1)) if "WARM_AT" in environ else None
    code = 1
    try:
        if kind == "agent":
            from torch.distributed.run import main as torchrun

            torchrun(arguments)
            code = 0
        elif kind == "vxstore":
            from vxstore.cli.main import main as vxstore

            code = vxstore(arguments)
        elif kind == "vxdist":
            code = main(arguments)
        else:
            code = main(["locate", *arguments])
    except SystemExit as leaving:
        code = int(leaving.code or 0)
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        if count is not None:
            count()
        os._exit(code)


def break_off(how: str, where: str) -> "object":
    """Kill or stop this process in the moment that $WARM_AT says; returns what counts them."""
    under, once = os.environ["WARM_UNDER"], threading.Lock()
    seen = {"kill": 0, "stop": 0}

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        if event != "open" and event not in TOUCHES:
            return
        path = arguments[0]
        if not isinstance(path, str | os.PathLike):
            return
        # A store's files are opened by their names in folders that are open already.
        if os.path.isabs(path) and not os.fspath(path).startswith(under):
            return
        writes = event != "open" or bool(int(str(arguments[2] or 0)) & WRITING)
        if not writes and not str(path).endswith(".lock"):
            return
        kind = "kill" if writes else "stop"
        with once:
            seen[kind] += 1
            meant = how in SIGNALS and (how == "stop") == (kind == "stop")
            now = meant and seen[kind] == int(where)
        if now:
            os.kill(os.getpid(), SIGNALS[how])
            time.sleep(0.2)  # other threads may be the first to be stopped

    def count() -> None:
        if how == "count":
            with open(where, "w", encoding="ascii") as opened:
                json.dump(seen, opened)

    sys.addaudithook(hook)
    return count


def ask(address: str, kind: str, arguments: list[str]) -> int:
    """Have a process forked; its exit code, -N if signal N ended it."""
    wanted = {
        "kind": kind,
        "arguments": arguments,
        "environ": dict(os.environ),
        "folder": os.getcwd(),
    }
    server = socket.socket(socket.AF_UNIX)
    server.connect(address)
    socket.send_fds(server, [json.dumps(wanted).encode()], [1, 2])
    told = server.makefile()
    process = int(told.readline())
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _: os.kill(process, number))
    return int(told.readline())


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(sys.argv[2])
    status = ask(sys.argv[2], sys.argv[3], sys.argv[4:])
    if status < 0:
        signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    sys.exit(status)

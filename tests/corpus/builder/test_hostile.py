"""Endpoints that mean harm: each ends in one line, in seconds, and gets nothing it should not.

They are real servers on this machine, which write bytes of their own making to the connection.
"""

import gzip
import json
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from vxdist.cli import main
from vxdist.corpus.builder.transport import HIDDEN, MOST_BYTES, hide_key

KEY = "sk-secret/0123456789"
MODELS = {"object": "list", "data": [{"id": "tiny", "object": "model"}]}


def http(body: bytes | str, status: str = "200 OK", *headers: str) -> bytes:
    content = body.encode() if isinstance(body, str) else body
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(content)}", "Connection: close"]
    if not any(h.startswith("Content-Type") for h in headers):
        lines.append("Content-Type: application/json")
    return "\r\n".join([*lines, *headers, "", ""]).encode() + content


def completion(content: Any, **usage: Any) -> str:
    message = {"role": "assistant", "content": content}
    return json.dumps(
        {
            "id": "x", "object": "chat.completion", "created": 0, "model": "tiny",
            "choices": [{"index": 0, "finish_reason": "stop", "message": message}],
            "usage": usage or {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
        }
    )  # fmt: skip


ESCAPED = "".join(f"\\u{ord(c):04x}" for c in KEY)
STORY = json.dumps({"word": KEY, "conflict": KEY, "dilemma": KEY, "aligned": "a", "violating": "b"})
FIXED: dict[str, bytes] = {
    "key in the answer": http(completion(STORY)),
    "key escaped in the answer": http(completion(STORY).replace(KEY, ESCAPED)),
    "key escaped within the answer": http(completion(STORY.replace(KEY, ESCAPED))),
    "a page with the key": http(f"<html>{KEY}</html>"),
    "key in a refusal": http(json.dumps({"error": {"message": f"bad key {KEY}"}}), "400 Bad"),
    "key in a failure": http(json.dumps({"detail": KEY}), "500 Error", "x-should-retry: false"),
    "key in a missing model": http(json.dumps({"error": KEY}), "404 Not Found"),
    "gzip bomb": http(
        gzip.compress(bytes(8 * MOST_BYTES), compresslevel=1), "200 OK", "Content-Encoding: gzip"
    ),
    "not UTF-8": http(b'{"id": "\xff\xfe", "choices": [\xc3\x28]}'),
    "nested body": http("[" * 100_000),
    "nested objects": http('{"a":' * 100_000),
    "nested answer": http(completion("{" * 100_000)),
    "nested lists in the answer": http(completion('{"dilemma": ' + "[" * 100_000)),
    "long answer": http(completion('{"dilemma": "' + 'x", "' * 200_000)),
    "choices of another kind": http('{"choices": "many"}'),
    "no message": http('{"choices": [{"message": null}]}'),
    "many choices": http('{"choices": [' + ",".join(["1"] * 50_000) + "]}"),
    "no numbers": http('{"choices": [{"message": {"content": NaN}}], "usage": {"a": 1e999}}'),
    "terminal escapes": http("\x1b]0;owned\x07\x1b[2J", "418 Teapot"),
    "retry in a year": http("{}", "429 Busy", "Retry-After: 31536000"),
    "a longer body announced": b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000000\r\n\r\n{}",
    "no HTTP": b"\x00\x01\x02 hello\r\n\r\n",
    "nothing": b"",
}  # fmt: skip
ENDLESS = ("endless body", "endless headers", "byte a second", "endless 100", "silence")
REDIRECTS = ("redirect", "redirect of the models")


def _send_endless(stream: Any, kind: str, ended: threading.Event) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
    starts = {
        "endless body": head + b"\r\n", "endless headers": head, "endless 100": b"",
        "byte a second": head + b"\r\n", "silence": b"",
    }  # fmt: skip
    pieces = {
        "endless body": b" " * 65536, "endless headers": b"X: " + b"y" * 4096 + b"\r\n",
        "endless 100": b"HTTP/1.1 100 Continue\r\n\r\n", "byte a second": b" ", "silence": b"",
    }  # fmt: skip
    stream.write(starts[kind])
    while not ended.wait(0.1 if kind in ("byte a second", "silence", "endless 100") else 0):
        stream.write(pieces[kind])
        stream.flush()


class Hostile:
    """A server of one kind; `requests` are the bytes of what it was sent, `elsewhere` of what the
    server that it redirects to was."""

    def __init__(self) -> None:
        self.requests: list[bytes] = []
        self.elsewhere: list[bytes] = []
        self.ended = threading.Event()
        self._sockets: list[socket.socket] = []

    def start(self, kind: str, received: list[bytes] | None = None) -> str:
        listening = socket.create_server(("127.0.0.1", 0))
        self._sockets.append(listening)
        log = self.requests if received is None else received
        threading.Thread(target=self._serve, args=(listening, kind, log), daemon=True).start()
        return f"http://127.0.0.1:{listening.getsockname()[1]}/v1"

    def _serve(self, listening: socket.socket, kind: str, log: list[bytes]) -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            threading.Thread(target=self._answer, args=(connection, kind, log), daemon=True).start()

    def _answer(self, connection: socket.socket, kind: str, log: list[bytes]) -> None:
        try:
            with connection, connection.makefile("rwb") as stream:
                head = b"".join(iter(stream.readline, b"\r\n"))
                length = [x for x in head.lower().split(b"\r\n") if x.startswith(b"content-length")]
                body = stream.read(int(length[0].split(b":")[1])) if length else b""
                log.append(head + body)
                lists = head.startswith(b"GET")
                if lists and kind != "redirect of the models":
                    stream.write(http(json.dumps(MODELS)))
                elif kind in REDIRECTS:
                    to = self.start("key in the answer", self.elsewhere)
                    to = f"Location: {to.replace('127.0.0.1', 'localhost')}/chat/completions"
                    stream.write(http("", "307 Temporary Redirect", to))
                elif kind in ENDLESS:
                    _send_endless(stream, kind, self.ended)
                else:
                    stream.write(FIXED[kind])
        except OSError:
            pass  # the client has left

    def close(self) -> None:
        self.ended.set()
        for listening in self._sockets:
            listening.close()


@pytest.fixture
def hostile(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hostile]:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    server = Hostile()
    yield server
    server.close()


def written(folder: Path) -> str:
    return "".join(f.read_text("utf-8") for f in folder.rglob("*") if f.is_file())


FEW = {"stories_per_value": 1, "dilemmas_per_value": 0, "attempts": 2, "concurrency": 1,
       "retries": 0, "timeout": 1.0}  # fmt: skip


@pytest.mark.parametrize("kind", [*FIXED, *ENDLESS, *REDIRECTS])
def test_a_hostile_endpoint(
    kind: str, hostile: Hostile, options: Any, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """One line, in seconds, and the key is nowhere but in the request."""
    began = time.monotonic()
    code = main(options(hostile.start(kind), **FEW))
    assert time.monotonic() - began < 15
    told = capfd.readouterr()
    assert code in (0, 2, 3), told.err
    assert "Traceback" not in told.err
    if code:
        assert len(told.err.splitlines()) == 1, told.err
    kept = written(tmp_path / "out")
    assert hostile.requests
    assert all(KEY.encode() in request for request in hostile.requests)
    for text in (told.out, told.err, kept):
        assert KEY not in text
        assert ESCAPED not in text.replace("\\\\", "\\")
        assert "\x1b" not in text
    assert not (tmp_path / "out" / "activation.jsonl").exists()
    assert hostile.elsewhere == [], "the key went to another host"
    if kind in REDIRECTS:
        assert code == 2
        assert "redirects to http://localhost:" in told.err
    if kind.startswith("key in"):
        assert HIDDEN in told.err + kept


def test_a_server_cannot_undo_the_budget(
    hostile: Hostile, options: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = {"prompt_tokens": -1_000_000, "completion_tokens": -5, "total_tokens": 1}
    monkeypatch.setitem(FIXED, "negative", http(completion("no", **counts)))
    assert main(options(hostile.start("negative"), **FEW | {"most_tokens": 100})) == 3
    spent = [json.loads(line) for line in (tmp_path / "out" / "usage.jsonl").open()]
    assert all(one["read"] > 0 and one["written"] >= 0 for one in spent)


def test_sigterm_during_a_byte_a_second(hostile: Hostile, options: Any) -> None:
    slow = {"timeout": 3.0, "retries": 6}
    url = hostile.start("byte a second")
    words = [sys.executable, "-m", "vxdist", *options(url, **FEW | slow)]
    process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True)
    while not any(request.startswith(b"POST") for request in hostile.requests):
        time.sleep(0.05)
    began = time.monotonic()
    process.send_signal(signal.SIGTERM)
    error = process.communicate(timeout=20)[1]
    assert (process.returncode, error) == (3, "stopped; run the same command again to resume\n")
    assert time.monotonic() - began < 8


def test_a_key_that_is_hidden_wherever_it_stands() -> None:
    assert hide_key(f"a {KEY} b", KEY) == f"a {HIDDEN} b"
    for spelled in (ESCAPED, ESCAPED.replace("\\", "\\\\"), KEY.replace("/", "\\u002f")):
        assert KEY not in hide_key(f'{{"a": "{spelled}"}}', KEY)
        assert spelled not in hide_key(f'{{"a": "{spelled}"}}', KEY)
    assert hide_key("none of it", "none") == "none of it", "the key of servers on this machine"

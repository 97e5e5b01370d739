"""A small OpenAI-compatible server that writes well-formed nonsense, with faults on request.

    python server.py PORT_FILE LOG_FILE [FAULT ...]

Every third request has one of these faults, in turn: 429 (with Retry-After), 500, drop (the
connection), hang, half (of the body), malformed (content), cut (at the token limit), page (of
HTML), filter (the prompt is refused), error (with status 200), parts (a list as content), surrogate
(a lone one), separator (U+2028 in text that is not JSON), uncounted (no usage), none. Others are
permanent: `noschema` refuses JSON schemas, `newname` refuses max_tokens, `twins` always writes the
same dilemma, `echo` the same rationale, `foreign` writes every fifth dilemma in Russian, `thinks`
adds its reasoning, `slow` delays answers, `dead` fails from the 20th request on, `broke` refuses
from the 13th on, `pinned` refuses everything, `nolist` lists no models, `steady` answers a prompt
always alike. A model other than `tiny`
or a path is refused.
"""

import json
import random
import sys
import threading
import time
import zlib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from vxdist.config import CorpusConfig
from vxdist.corpus import load_corpus

ALWAYS = ("noschema", "newname", "twins", "foreign", "slow", "dead", "pinned", "thinks",
          "echo", "broke", "nolist", "steady")  # fmt: skip
SEED = load_corpus(CorpusConfig(path="builtin:cvoice-seed"))
WORDS = {
    "en": [w for i in SEED.activation if i.language == "en" for w in i.rationale.split()],
    "zh": [w for i in SEED.activation if i.language == "zh" for w in i.rationale],
}


def text(language: str, length: int, rng: random.Random) -> str:
    """Words of a language in random order."""
    return (" " if language == "en" else "").join(rng.choices(WORDS[language], k=length))


def answer(prompt: str, number: int) -> dict[str, str]:
    """The fields that a prompt requests."""
    rng = random.Random(f"{number}")
    language = "en" if "Answer with one JSON object" in prompt else "zh"
    dilemma_words, rationale_words = (100, 120) if language == "zh" else (60, 80)
    if '"rationale"' in prompt:
        return {"choice": text(language, 15, rng),
                "rationale": text(language, rationale_words, rng)}  # fmt: skip
    fields = {"dilemma": text(language, dilemma_words, rng)}
    fields |= {name: text(language, 20, rng) for name in ("aligned", "violating")}
    return fields | ({"conflict": "c"} if '"conflict"' in prompt else {})


class Handler(BaseHTTPRequestHandler):
    """One request."""

    protocol_version = "HTTP/1.1"
    faults: tuple[str, ...] = ()
    log: Path
    count = 0
    lock = threading.Lock()

    def log_message(self, *_: Any) -> None:
        """Log nothing."""

    def do_GET(self) -> None:
        """List the models."""
        if "nolist" in self.faults:
            self.reply(200, [])
            return
        self.reply(200, {"object": "list", "data": [{"id": "tiny", "object": "model"}]})

    def do_POST(self) -> None:
        """Answer with a completion, or a fault."""
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if request["model"] != "tiny" and not request["model"].startswith("/"):
            self.reply(404, {"error": {"message": "no such model"}})
            return
        with self.lock:
            Handler.count += 1
            number = Handler.count
            with self.log.open("a") as stream:
                stream.write(json.dumps(request) + "\n")
        turns = [fault for fault in self.faults if fault not in ALWAYS]
        fault = turns[number // 3 % len(turns)] if turns and number % 3 == 0 else ""
        if "dead" in self.faults and number >= 20:
            fault = "500"
        if "broke" in self.faults and number >= 13:
            self.reply(400, {"error": {"message": "Your credit balance is too low"}})
        elif "pinned" in self.faults:
            self.reply(400, {"detail": "Server is pinned to another model."})
        elif (message := self.refuse(request, fault)) is not None:
            self.reply(400, {"error": {"message": message}})
        elif fault == "drop":
            self.close_connection = True
            self.connection.close()
        elif fault in ("429", "500"):
            headers = {"Retry-After": "0.1"} if fault == "429" else {}
            self.reply(int(fault), {"error": {"message": "busy"}}, headers)
        elif fault == "error":
            self.reply(200, {"error": {"message": "the upstream server failed", "code": 502}})
        elif fault == "page":
            self.reply(200, "<html>sign in</html>", {"Content-Type": "text/html"})
        else:
            time.sleep(30 if fault == "hang" else 0.05 if "slow" in self.faults else 0)
            self.complete(request["messages"][0]["content"], number, fault)

    def refuse(self, request: Any, fault: str) -> str | None:
        """The message with which a request is refused; None if it is accepted."""
        if "noschema" in self.faults and "response_format" in request:
            return "response_format is not supported"
        if "newname" in self.faults and "max_tokens" in request:
            return "use max_completion_tokens, not max_tokens"
        return "filtered" if fault == "filter" else None

    def complete(self, prompt: str, number: int, fault: str) -> None:
        """Answer a prompt."""
        fields = answer(prompt, zlib.crc32(prompt.encode()) if "steady" in self.faults else number)
        if "twins" in self.faults and "dilemma" in fields:
            fields["dilemma"] = answer(prompt, 0)["dilemma"]
        if "echo" in self.faults and "rationale" in fields:
            language = "en" if "Answer with one JSON object" in prompt else "zh"
            fields["rationale"] = text(language, 100, random.Random(prompt.split("\n")[2]))
        if "foreign" in self.faults and number % 5 == 0 and "dilemma" in fields:
            fields["dilemma"] = "Это совсем другой язык. " * 20
        if fault == "surrogate":
            fields |= {name: f"{value}\ud83d" for name, value in fields.items()}
        content: Any = json.dumps(fields, ensure_ascii=fault == "surrogate")
        if fault == "cut":
            content = content[:-5]
        if fault == "malformed":
            content = "Sure! Here is a story about"
        if fault == "separator":
            content = "Sure!\u2028Here is a story\x85about"
        if fault == "parts":
            content = [{"type": "text", "text": content}]
        if "noschema" in self.faults:
            content = f"Here you are:\n```json\n{content}\n```"
        if "thinks" in self.faults:
            content = f"<think>{{Perhaps a dog?}}</think>\n{content}"
        body = {
            "id": "x", "object": "chat.completion", "created": 0, "model": "tiny",
            "choices": [{"index": 0, "finish_reason": "length" if fault == "cut" else "stop",
                         "message": {"role": "assistant", "content": content}}],
            "usage": {} if fault == "uncounted" else {
                "prompt_tokens": 100, "completion_tokens": 50, "total_tokens": 150
            },
        }  # fmt: skip
        self.reply(200, body, half=fault == "half")

    def reply(
        self, status: int, body: Any, headers: dict[str, str] | None = None, *, half: bool = False
    ) -> None:
        """Send a body, or half of it."""
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        for name, value in {"Content-Type": "application/json", **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content[: len(content) // 2] if half else content)
        if half:
            self.close_connection = True


def main() -> None:
    """Serve until killed."""
    port_file, log, *faults = sys.argv[1:]
    Handler.faults, Handler.log = tuple(faults), Path(log)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    draft = Path(port_file + ".draft")
    draft.write_text(str(server.server_port))
    draft.rename(port_file)
    server.serve_forever()


if __name__ == "__main__":
    main()

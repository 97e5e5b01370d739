"""What is asked of a model's answer, and what is made of it."""

from collections.abc import Sequence
from typing import Any

import json_repair

from vxdist.corpus.encoding import has_half_pair

THOUGHT = "</think>"
"""What ends the thoughts of many models, where the server leaves them in the answer."""
Talk = Sequence[str]
"""What we and the model said in turns; the first and the last word are ours."""


class Malformed(Exception):
    """An answer without the fields that were asked for; `content` is what there is of it."""

    def __init__(self, reason: str, content: str | None = None) -> None:
        super().__init__(reason)
        self.content = content


class Refused(Exception):
    """No answer, from a server that gives answers to others: a filter, or a fault of its own."""


def make_messages(talk: Talk) -> list[Any]:
    """The turns of a talk as the API has them."""
    roles = ("user", "assistant")
    return [{"role": roles[turn % 2], "content": text} for turn, text in enumerate(talk)]


def make_schema(fields: Sequence[str]) -> dict[str, Any]:
    """A JSON schema of an object with these texts, for servers that hold to one."""
    return {
        "name": "answer",
        "strict": True,
        "schema": {
            "type": "object",
            "properties": {name: {"type": "string"} for name in fields},
            "required": list(fields),
            "additionalProperties": False,
        },
    }


def parse_answer(content: object, fields: Sequence[str]) -> dict[str, str]:
    """The texts of an answer, mended where it is nearly JSON. Raises Malformed."""
    if not isinstance(content, str) or not content.strip():
        raise Malformed("an empty answer")
    answer = content.rpartition(THOUGHT)[2]
    try:
        found = json_repair.loads(answer[answer.find("{") :] if "{" in answer else answer)
    except (ValueError, RecursionError) as error:
        raise Malformed("an answer that is no JSON", content) from error
    if not isinstance(found, dict):
        raise Malformed("an answer that is no JSON object", content)
    texts = {name: found.get(name) for name in fields}
    wrong = [name for name, text in texts.items() if not isinstance(text, str) or not text.strip()]
    if wrong:
        raise Malformed(f"an answer without {', '.join(wrong)}", content)
    told = {name: " ".join(str(text).split()) for name, text in texts.items()}
    if any(map(has_half_pair, told.values())):
        raise Malformed("an answer with half of a surrogate pair, which is no text", content)
    return told

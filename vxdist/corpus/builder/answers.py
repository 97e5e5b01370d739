"""Requests to a model, and parsing of its answers."""

from collections.abc import Sequence
from typing import Any

import json_repair

from vxdist.corpus.encoding import has_lone_surrogate

END_OF_THOUGHT = "</think>"
"""Ends the reasoning of many models, if the server leaves it in the answer."""
MOST_BRACKETS = 500
"""Brackets of an answer that is looked at; one that was asked for has a single pair."""
Turns = Sequence[str]
"""User and model messages in turn; the first and the last are the user's."""


class Malformed(Exception):
    """An answer lacks the requested fields; `content` is what came instead."""

    def __init__(self, reason: str, content: str | None = None) -> None:
        super().__init__(reason)
        self.content = content


class Refused(Exception):
    """The server refused or failed one request, as by a content filter, but answers others."""


def make_messages(turns: Turns) -> list[Any]:
    """The messages of a conversation in the form of the API."""
    roles = ("user", "assistant")
    return [{"role": roles[n % 2], "content": text} for n, text in enumerate(turns)]


def make_schema(fields: Sequence[str]) -> dict[str, Any]:
    """A JSON schema of an object with these string fields, for servers that enforce one."""
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


def parse_answer(content: object, fields: Sequence[str], *, most: int) -> dict[str, str]:
    """The fields of an answer; JSON that is nearly valid is repaired.

    Raises Malformed, also if there are more than `most` characters (repair takes long on those).
    """
    if not isinstance(content, str) or not content.strip():
        raise Malformed("the answer is empty")
    answer = content.rpartition(END_OF_THOUGHT)[2]
    if len(content) > most or answer.count("{") + answer.count("[") > MOST_BRACKETS:
        raise Malformed("the answer is longer than build.answer_tokens, or all brackets")
    try:
        found = json_repair.loads(answer[answer.find("{") :] if "{" in answer else answer)
    except (ValueError, RecursionError) as error:
        raise Malformed("the answer is not JSON", content) from error
    if not isinstance(found, dict):
        raise Malformed("the answer is not a JSON object", content)
    texts = {name: found.get(name) for name in fields}
    wrong = [name for name, text in texts.items() if not isinstance(text, str) or not text.strip()]
    if wrong:
        raise Malformed(f"the answer lacks {', '.join(wrong)}", content)
    cleaned = {name: " ".join(str(text).split()) for name, text in texts.items()}
    if any(map(has_lone_surrogate, cleaned.values())):
        raise Malformed("the answer contains a lone surrogate, which is not valid text", content)
    return cleaned

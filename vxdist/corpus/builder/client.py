"""Asking an OpenAI-compatible endpoint, at a pace and within a budget."""

import json
import os
from collections.abc import Sequence
from typing import Any, Self
from urllib.parse import urlsplit

import json_repair
import openai
from openai.types.chat import ChatCompletion

from vxdist.config import BuildConfig
from vxdist.corpus.builder.budget import Pace, Usage
from vxdist.errors import Stopped, UserError

LOCAL = ("localhost", "127.0.0.1", "::1")
THOUGHT = "</think>"
"""What ends the thoughts of many models, where the server leaves them in the answer."""
Talk = Sequence[str]
"""What we and the model said in turns; the first and the last word are ours."""


class Malformed(Exception):
    """An answer without the fields that were asked for; `content` is what there is of it."""

    def __init__(self, reason: str, content: str | None = None) -> None:
        super().__init__(reason)
        self.content = content


class Writer:
    """The language model at an endpoint."""

    def __init__(self, config: BuildConfig, usage: Usage) -> None:
        """Raises UserError if there is no key for a server elsewhere."""
        self._config, self._usage = config, usage
        self._pace = Pace(config.requests_per_minute, config.tokens_per_minute)
        self._structured = config.structured
        self._limit = "max_tokens"
        self._heard = False  # whether the server ever took a request as it is made now
        self._client = openai.AsyncOpenAI(
            base_url=config.base_url,
            api_key=find_key(config),
            timeout=config.timeout,
            max_retries=config.retries,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.close()

    async def check(self) -> None:
        """Make sure, before any work, that the endpoint answers and has the model.

        Raises UserError if not.
        """
        url = self._config.base_url
        try:
            listed = await self._client.with_options(max_retries=1, timeout=20).models.list()
        except (openai.AuthenticationError, openai.PermissionDeniedError) as error:
            raise UserError(
                f"build.base_url: {url} refuses the key in {self._config.key_variable}: "
                f"{_line(error)}"
            ) from error
        except openai.APIConnectionError as error:
            raise UserError(
                f"build.base_url: {url} does not answer ({_line(error)}); start the server, or "
                "correct the address"
            ) from error
        except openai.OpenAIError:
            return  # a server that lists no models may write all the same
        if not isinstance(listed, openai.pagination.AsyncPage):
            raise UserError(
                f"build.base_url: {url} does not speak as OpenAI's does; the address often ends in "
                "/v1"
            )
        names = [model.id for model in listed.data or []]
        if names and self._config.model not in names:
            await self._try_model(names)

    async def _try_model(self, names: Sequence[str]) -> None:
        """Some servers take models that they do not list: aliases, folders."""
        try:
            await self._client.with_options(max_retries=1).chat.completions.create(
                model=self._config.model,
                messages=[{"role": "user", "content": "Hello"}],
                max_tokens=1,
            )
        except openai.APIStatusError as error:
            raise UserError(
                f"build.model: {self._config.base_url} has no {self._config.model!r}; it has "
                f"{', '.join(sorted(names)[:10])}"
            ) from error

    async def ask(self, talk: Talk, fields: Sequence[str]) -> dict[str, str]:
        """The fields of the answer, which are texts; `talk` is what was said so far, in turns.

        Raises Malformed if they are not there, Stopped if the budget is spent or the endpoint
        fails for good, UserError if it refuses.
        """
        await self._pace.wait()
        if (limit := self._usage.exhausted()) is not None:
            raise Stopped(f"{limit}; raise it and run the same command to go on")
        answer = await self._request(talk, fields)
        if not isinstance(answer, ChatCompletion):
            raise Malformed("the server's response is no chat completion")
        if answer.usage is not None:
            read, written = answer.usage.prompt_tokens, answer.usage.completion_tokens
        else:  # some servers do not tell; a token is three bytes or more, in any script
            said = "".join(choice.message.content or "" for choice in answer.choices)
            read, written = (len(text.encode()) // 3 for text in ("".join(talk), said))
        self._usage.spend(read, written)
        self._pace.charge(read + written)
        if not answer.choices:
            raise Malformed("an empty answer")
        content = answer.choices[0].message.content
        if answer.choices[0].finish_reason == "length":
            # Mended, it would be a whole object with half a text in it.
            raise Malformed("an answer cut off at build.answer_tokens", content)
        return _parse(content, fields)

    async def _request(self, talk: Talk, fields: Sequence[str]) -> Any:
        settings: dict[str, Any] = {self._limit: self._config.answer_tokens}
        structured = self._structured
        if structured:
            settings["response_format"] = {"type": "json_schema", "json_schema": _schema(fields)}
        try:
            answer = await self._client.chat.completions.create(
                model=self._config.model,
                messages=_messages(talk),
                temperature=self._config.temperature,
                extra_body=self._config.request,
                **settings,
            )
            self._heard = True
            return answer
        except (openai.BadRequestError, openai.UnprocessableEntityError) as error:
            if "max_tokens" in settings and "max_completion_tokens" in str(error):
                self._limit = "max_completion_tokens"
            elif self._heard and structured == self._structured:
                # It takes others: this prompt is refused, by a filter or for its length.
                raise Malformed(f"refused: {_line(error)}") from error
            elif structured:
                self._structured = False  # the server has no such thing: ask in plain words
            else:
                raise UserError(f"{self._config.base_url}: {_line(error)}") from error
            return await self._request(talk, fields)
        except (openai.InternalServerError, openai.RateLimitError, openai.APIConnectionError) as e:
            raise Stopped(
                f"{self._config.base_url} fails after {self._config.retries} retries: {_line(e)}; "
                "the same command goes on from what is written"
            ) from e
        except (openai.APIResponseValidationError, json.JSONDecodeError) as error:
            raise Malformed("the server's response is not JSON") from error
        except openai.APIError as error:
            raise UserError(f"{self._config.base_url}: {_line(error)}") from error


def find_key(config: BuildConfig) -> str:
    """The key, from the environment alone. Raises UserError if a server elsewhere needs one."""
    key = os.environ.get(config.key_variable)
    if key:
        return key
    if urlsplit(config.base_url).hostname in LOCAL:
        return "none"
    raise UserError(
        f"build.key_variable: the environment has no {config.key_variable}; set it to the key for "
        f"{config.base_url}"
    )


def _messages(talk: Talk) -> list[Any]:
    roles = ("user", "assistant")
    return [{"role": roles[turn % 2], "content": text} for turn, text in enumerate(talk)]


def _schema(fields: Sequence[str]) -> dict[str, Any]:
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


def _parse(content: str | None, fields: Sequence[str]) -> dict[str, str]:
    if not content:
        raise Malformed("an empty answer")
    answer = content.rpartition(THOUGHT)[2]
    found = json_repair.loads(answer[answer.find("{") :] if "{" in answer else answer)
    if not isinstance(found, dict):
        raise Malformed("an answer that is no JSON object", content)
    texts = {name: found.get(name) for name in fields}
    wrong = [name for name, text in texts.items() if not isinstance(text, str) or not text.strip()]
    if wrong:
        raise Malformed(f"an answer without {', '.join(wrong)}", content)
    return {name: " ".join(str(text).split()) for name, text in texts.items()}


def _line(error: Exception) -> str:
    """What an error says, and of an answer with one its own words: not all put them in `error`."""
    text = str(error)
    if isinstance(error, openai.APIStatusError) and error.response.text not in text:
        text = f"status {error.status_code}: {error.response.text}"
    return " ".join(text.split())[:300]

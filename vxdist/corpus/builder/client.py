"""Asking an OpenAI-compatible endpoint, at a pace and within a budget."""

import asyncio
import json
import os
from collections.abc import Sequence
from typing import Any, Self
from urllib.parse import urlsplit

import openai
from openai.types.chat import ChatCompletion

from vxdist.corpus.builder.answers import (
    Malformed,
    Refused,
    Talk,
    make_messages,
    make_schema,
    parse_answer,
)
from vxdist.corpus.builder.budget import Pace, Usage
from vxdist.corpus.builder.config import BuildConfig
from vxdist.errors import Stopped, UserError

LOCAL = ("localhost", "127.0.0.1", "::1")
HELLO = 'Answer with the JSON object {"word": "yes"} and nothing else.'
FEWEST_REFUSALS = 10
"""In a row, after which a build stops; with many pairs at once, two of each."""
STOP = "the same command goes on from here"


class Writer:
    """The language model at an endpoint."""

    def __init__(self, config: BuildConfig, usage: Usage) -> None:
        """Raises UserError if there is no key for a server elsewhere, or the address is none."""
        self._config, self._usage = config, usage
        self.stopping = asyncio.Event()
        """Once set, nothing more is asked; what is on its way is waited for."""
        self._pace = Pace(config.requests_per_minute, config.tokens_per_minute)
        self._structured = config.structured
        self._limit = "max_tokens"
        self._heard = False  # whether the server took a request in the form that we make now
        self._refusals = 0  # in a row
        try:
            self._client = openai.AsyncOpenAI(
                base_url=config.base_url,
                api_key=find_key(config),
                timeout=config.timeout,
                max_retries=config.retries,
                http_client=_without_proxy(config),
            )
        except (ImportError, ValueError) as error:  # of a proxy that cannot be used
            raise UserError(f"build.base_url: {config.base_url}: {_line(error)}") from error

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.close()

    async def check(self) -> None:
        """Make sure, before any work, that the endpoint answers and has the model.

        A harmless question settles the form of requests: servers know other names for settings.
        Raises UserError if it does not answer, Stopped if the budget is spent or it fails.
        """
        names = await self._list_models()
        try:
            await self.ask([HELLO], ["word"])
        except openai.NotFoundError as error:
            has = f"; it has {', '.join(sorted(names)[:10])}" if names else ""
            raise UserError(
                f"build.model: {self._config.base_url} has no {self._config.model!r}{has} "
                f"({_line(error)})"
            ) from error
        except (Malformed, Refused):
            pass  # of prose it may do better; of refusals the build counts its own

    async def _list_models(self) -> list[str]:
        """Names of models; none if the server does not list them."""
        url = self._config.base_url
        try:
            listed = await self._client.with_options(max_retries=1, timeout=20).models.list()
            # Some servers list models that they do not name.
            return [model.id for model in listed.data or [] if isinstance(model.id, str)]
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
        except (openai.OpenAIError, AttributeError, TypeError, ValueError):
            return []

    async def ask(self, talk: Talk, fields: Sequence[str]) -> dict[str, str]:
        """The fields of the answer, which are texts; `talk` is what was said so far, in turns.

        Raises Malformed if they are not there, Refused if there is no answer, Stopped if nothing
        more is to be asked, the budget is spent or the endpoint fails for good, UserError if it
        takes nothing.
        """
        await self._pace.wait(self.stopping)
        if self.stopping.is_set():
            raise Stopped(f"stopped; {STOP}")
        if (limit := self._usage.exhausted()) is not None:
            raise Stopped(f"{limit}; raise it and run the same command to go on")
        try:
            answer = await self._request(talk, fields)
            if not isinstance(answer, ChatCompletion) or not answer.choices:
                raise Refused(f"no chat completion: {_line(str(answer))}")
        except Refused as error:
            self._refusals += 1
            if self._refusals >= max(FEWEST_REFUSALS, 2 * self._config.concurrency):
                raise Stopped(
                    f"{self._config.base_url} gave no answer {self._refusals} times in a row, the "
                    f"last time: {error}; {STOP}"
                ) from error
            raise
        self._refusals = 0
        self._spend(talk, answer)
        choice = answer.choices[0]
        content: object = getattr(choice.message, "content", None)
        if choice.finish_reason == "length":
            # Mended, it would be a whole object with half a text in it.
            told = content if isinstance(content, str) else None
            raise Malformed("an answer cut off at build.answer_tokens", told)
        return parse_answer(content, fields)

    def _spend(self, talk: Talk, answer: ChatCompletion) -> None:
        counts = (
            getattr(answer.usage, "prompt_tokens", None),
            getattr(answer.usage, "completion_tokens", None),
        )
        # Some servers do not tell. About three bytes are a token, in English and in Chinese.
        said = "".join(str(getattr(choice.message, "content", "")) for choice in answer.choices)
        guess = (len(text.encode(errors="replace")) // 3 for text in ("".join(talk), said))
        read, written = (
            count if isinstance(count, int) else about
            for count, about in zip(counts, guess, strict=True)
        )
        self._usage.spend(read, written)
        self._pace.charge(read + written)

    async def _request(self, talk: Talk, fields: Sequence[str]) -> Any:
        settings: dict[str, Any] = {self._limit: self._config.answer_tokens}
        structured = self._structured
        if structured:
            settings["response_format"] = {
                "type": "json_schema",
                "json_schema": make_schema(fields),
            }
        try:
            answer = await self._client.chat.completions.create(
                model=self._config.model,
                messages=make_messages(talk),
                temperature=self._config.temperature,
                extra_body=self._config.request,
                **settings,
            )
            self._heard = True
            return answer
        except (openai.BadRequestError, openai.UnprocessableEntityError) as error:
            if self._heard:
                # It takes others: this prompt is refused, by a filter or for its length.
                raise Refused(f"refused: {_line(error)}") from error
            if "max_tokens" in settings and "max_completion_tokens" in str(error):
                self._limit = "max_completion_tokens"
            elif structured:
                self._structured = False  # the server has no such thing: ask in plain words
            else:
                raise UserError(f"{self._config.base_url}: {_line(error)}") from error
            return await self._request(talk, fields)
        except (openai.InternalServerError, openai.RateLimitError, openai.APIConnectionError) as e:
            raise Stopped(
                f"{self._config.base_url} fails after {self._config.retries} retries: {_line(e)}; "
                f"{STOP}"
            ) from e
        except (openai.APIResponseValidationError, json.JSONDecodeError) as error:
            raise Refused("the server's response is not JSON") from error
        except openai.NotFoundError:
            if self._heard:
                raise Stopped(f"{self._config.base_url} has the model no longer; {STOP}") from None
            raise
        except openai.APIError as error:
            raise UserError(f"{self._config.base_url}: {_line(error)}") from error


def find_key(config: BuildConfig) -> str:
    """The key, from the environment alone. Raises UserError if a server elsewhere needs one."""
    key = os.environ.get(config.key_variable)
    if key and not key.isascii():
        raise UserError(
            f"build.key_variable: {config.key_variable} holds letters that no key has; was it "
            "copied with quotation marks?"
        )
    if key:
        return key
    if is_local(config):
        return "none"
    raise UserError(
        f"build.key_variable: the environment has no {config.key_variable}; set it to the key for "
        f"{config.base_url}"
    )


def is_local(config: BuildConfig) -> bool:
    """Whether the server is on this machine."""
    return urlsplit(config.base_url).hostname in LOCAL


def _without_proxy(config: BuildConfig) -> Any:
    """A proxy that the environment names does not reach a server on this machine."""
    return openai.DefaultAsyncHttpxClient(trust_env=False) if is_local(config) else None


def _line(error: Exception | str) -> str:
    """What an error says, and of an answer with one its own words: not all put them in `error`."""
    text = str(error)
    if isinstance(error, openai.APIStatusError) and error.response.text not in text:
        text = f"status {error.status_code}: {error.response.text}"
    return " ".join(text.split())[:300]

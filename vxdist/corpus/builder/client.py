"""A client for an OpenAI-compatible endpoint, with rate limits and a budget."""

import asyncio
from collections.abc import Sequence
from typing import Any, Self

import openai
from openai.types.chat import ChatCompletion
from openai.types.chat.chat_completion import Choice

from vxdist.corpus.builder.answers import (
    Malformed,
    Refused,
    Turns,
    make_messages,
    make_schema,
    parse_answer,
)
from vxdist.corpus.builder.budget import RateLimiter, Usage, count_tokens
from vxdist.corpus.builder.config import BuildConfig
from vxdist.corpus.builder.transport import (
    BoundedClient,
    Redirected,
    TooLong,
    find_key,
    hide_key,
    is_local,
)
from vxdist.errors import Stopped, UserError
from vxstore.text import clean

CHECK_PROMPT = 'Answer with the JSON object {"word": "yes"} and nothing else.'
MIN_REFUSALS = 10
"""Consecutive refusals after which a build stops; at high concurrency, two per pair in flight."""
MOST_CHARACTERS = 64
"""Characters of an answer for each token that it may have; a longer one is not looked at."""
MOST_WAIT = 20.0
"""Seconds that requests in flight have to end once the build is asked to stop."""
RESUME = "run the same command again to resume"


class ChatClient:
    """The language model at an endpoint."""

    def __init__(self, config: BuildConfig, usage: Usage) -> None:
        """Raises UserError if a remote server has no key, or its proxy cannot be used."""
        self._config, self._usage = config, usage
        self.stopping = asyncio.Event()
        """Once set, no new request starts; requests in flight are awaited."""
        self._leaving = asyncio.Event()
        self._key = find_key(config)
        self._limiter = RateLimiter(config.requests_per_minute, config.tokens_per_minute)
        self._structured = config.structured
        self._limit_name = "max_tokens"
        self._accepted = False  # whether the server has accepted a request in its current form
        self._refusals = 0  # consecutive
        try:
            self._client = openai.AsyncOpenAI(
                base_url=config.base_url,
                api_key=self._key,
                timeout=config.timeout,
                max_retries=config.retries,
                # A proxy set in the environment cannot reach a server on this machine.
                http_client=BoundedClient(config.timeout, trust_env=not is_local(config)),
            )
        except (ImportError, ValueError) as error:  # from an unusable proxy
            raise UserError(f"build.base_url: {config.base_url}: {self._line(error)}") from error

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.close()

    def stop(self) -> None:
        """Start no further request, and await those in flight for a short time only."""
        self.stopping.set()
        self._leaving.set()

    async def check(self) -> None:
        """Check, before any work, that the endpoint answers and has the model.

        A trivial request settles the form of requests, since servers differ in their parameters.
        Raises UserError if the endpoint does not answer, Stopped if it fails or the budget is
        spent.
        """
        names = await self._list_models()
        try:
            await self.ask([CHECK_PROMPT], ["word"])
        except openai.NotFoundError as error:
            available = f"; it has {', '.join(sorted(names)[:10])}" if names else ""
            raise UserError(
                f"build.model: {self._config.base_url} has no model "
                f"{self._config.model!r}{available} ({self._line(error)})"
            ) from error
        except (Malformed, Refused):
            pass  # it may do better on real prompts, and the build counts refusals itself

    async def _list_models(self) -> list[str]:
        """Names of the models; empty if the server does not list them."""
        url = self._config.base_url
        try:
            # An address may be wrong; a server of our own was up a moment ago.
            retries = self._config.retries if self._config.local else 1
            client = self._client.with_options(max_retries=retries, timeout=20)
            listed = await client.models.list()
            # Some servers list models without a name.
            return [self._line(m.id) for m in listed.data or [] if isinstance(m.id, str)]
        except (openai.AuthenticationError, openai.PermissionDeniedError) as error:
            raise UserError(
                f"build.base_url: {url} rejects the key in {self._config.key_variable}: "
                f"{self._line(error)}"
            ) from error
        except openai.APIConnectionError as error:
            raise UserError(
                f"build.base_url: {url} does not respond ({self._line(error)}); start the server, "
                "or correct the address"
            ) from error
        except Redirected as error:
            raise UserError(
                f"build.base_url: {url} {self._line(error)}; if you trust that address, give it"
            ) from error
        except (openai.OpenAIError, AttributeError, TypeError, ValueError, RecursionError):
            return []

    async def ask(self, turns: Turns, fields: Sequence[str]) -> dict[str, str]:
        """Continue a conversation: the fields of the model's next answer.

        Raises Malformed if a field is missing, Refused if there is no answer, Stopped if the build
        is stopping, the budget is spent or the endpoint keeps failing, UserError if the endpoint
        accepts no request at all.
        """
        await self._limiter.wait(self.stopping)
        if self.stopping.is_set():
            raise Stopped(f"stopped; {RESUME}")
        if (limit := self._usage.exhausted()) is not None:
            raise Stopped(f"{limit}; raise the limit and run the same command again to resume")
        try:
            answer = await self._await_answer(turns, fields)
            if not isinstance(answer, ChatCompletion) or not _has_choices(answer):
                raise Refused(f"no chat completion: {self._line(str(answer))}")
        except Refused as error:
            self._refusals += 1
            if self._refusals >= max(MIN_REFUSALS, 2 * self._config.concurrency):
                raise Stopped(
                    f"{self._config.base_url} gave no answer {self._refusals} times in a row; last "
                    f"error: {error}; {RESUME}"
                ) from error
            raise
        self._refusals = 0
        self._record_usage(turns, answer)
        choice = answer.choices[0]
        content: object = getattr(choice.message, "content", None)
        if isinstance(content, str):
            content = hide_key(content, self._key)
        if choice.finish_reason == "length":
            # Repaired, it would be a valid object with half a text in it.
            partial = content if isinstance(content, str) else None
            raise Malformed("the answer was cut off at build.answer_tokens", partial)
        found = parse_answer(content, fields, most=MOST_CHARACTERS * self._config.answer_tokens)
        return {name: hide_key(text, self._key) for name, text in found.items()}

    async def _await_answer(self, turns: Turns, fields: Sequence[str]) -> Any:
        """`_request`; once the build is asked to stop, for `MOST_WAIT` at most."""
        request = asyncio.ensure_future(self._request(turns, fields))
        leaving = asyncio.ensure_future(self._leaving.wait())
        try:
            await asyncio.wait((request, leaving), return_when=asyncio.FIRST_COMPLETED)
            if not request.done():
                await asyncio.wait((request,), timeout=min(MOST_WAIT, self._config.timeout))
            if not request.done():
                raise Stopped(f"stopped; {RESUME}")
            return request.result()
        finally:
            leaving.cancel()
            request.cancel()

    def _record_usage(self, turns: Turns, answer: ChatCompletion) -> None:
        reply = "".join(str(getattr(choice.message, "content", "")) for choice in answer.choices)
        read, written = count_tokens(answer.usage, "".join(turns), reply)
        self._usage.spend(read, written)
        self._limiter.charge(read + written)

    async def _request(self, turns: Turns, fields: Sequence[str]) -> Any:
        settings: dict[str, Any] = {self._limit_name: self._config.answer_tokens}
        if self._structured:
            settings["response_format"] = {
                "type": "json_schema",
                "json_schema": make_schema(fields),
            }
        try:
            answer = await self._client.chat.completions.create(
                model=self._config.model,
                messages=make_messages(turns),
                temperature=self._config.temperature,
                extra_body=self._config.request,
                **settings,
            )
            self._accepted = True
            return answer
        except (openai.BadRequestError, openai.UnprocessableEntityError) as error:
            self._adapt_form(settings, error)
            return await self._request(turns, fields)
        except (openai.InternalServerError, openai.RateLimitError, openai.APIConnectionError) as e:
            raise Stopped(
                f"{self._config.base_url} failed after {self._config.retries} retries: "
                f"{self._line(e)}; {RESUME}"
            ) from e
        except TooLong as error:
            raise Refused(str(error)) from error
        except (openai.APIResponseValidationError, ValueError, RecursionError) as error:
            raise Refused("the server's response is not JSON") from error
        except openai.NotFoundError:
            if self._accepted:
                url = self._config.base_url
                raise Stopped(f"{url} no longer has the model; {RESUME}") from None
            raise
        except (openai.APIError, Redirected) as error:
            raise UserError(f"{self._config.base_url}: {self._line(error)}") from error

    def _line(self, error: Exception | str) -> str:
        """An error as one line, with what it leaves out: the response's body, the time-out.

        The key is hidden, which some servers send back.
        """
        text = str(error)
        if isinstance(error, openai.APIStatusError) and error.response.text not in text:
            text = f"status {error.status_code}: {error.response.text}"
        elif isinstance(error, openai.APITimeoutError):
            text = f"{text.rstrip('.')}: {error.__cause__}"
        return clean(" ".join(hide_key(text, self._key).split()))[:300]

    def _adapt_form(self, settings: dict[str, Any], error: openai.APIStatusError) -> None:
        """Change the form of requests after `settings` failed; raises if it is not the cause."""
        if self._accepted:
            # It accepted others, so it refuses this prompt: by a filter or for its length.
            raise Refused(f"refused: {self._line(error)}") from error
        if "max_tokens" in settings and "max_completion_tokens" in str(error):
            self._limit_name = "max_completion_tokens"
        elif "response_format" in settings:
            self._structured = False
        else:
            raise UserError(f"{self._config.base_url}: {self._line(error)}") from error


def _has_choices(answer: ChatCompletion) -> bool:
    """The openai package hands on whatever a server sends."""
    choices: object = answer.choices
    return (
        bool(choices) and isinstance(choices, list) and all(isinstance(c, Choice) for c in choices)
    )

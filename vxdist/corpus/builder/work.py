"""Writing pairs: several at a time, each through all its steps, until no topic is left."""

import asyncio
import contextlib
import dataclasses
import json
from collections.abc import Callable, Sequence
from itertools import product

from vxdist.corpus.builder.accept import Rejected, Rules
from vxdist.corpus.builder.answers import Malformed, Refused
from vxdist.corpus.builder.budget import Usage
from vxdist.corpus.builder.client import ChatClient
from vxdist.corpus.builder.config import BuildConfig
from vxdist.corpus.builder.folder import BuildFolder
from vxdist.corpus.builder.topics import Guide, Topic
from vxdist.corpus.items import ActivationItem, EvaluationItem
from vxdist.progress import WorkProgress

DILEMMA_FIELDS = ("dilemma", "aligned", "violating")
Check = Callable[[dict[str, str]], None]


class GivenUp(Exception):
    """The answers on a topic were rejected too often."""


class Build:
    """One run of the builder."""

    def __init__(
        self,
        config: BuildConfig,
        guide: Guide,
        folder: BuildFolder,
        usage: Usage,
        client: ChatClient,
    ) -> None:
        self._config, self._guide, self._folder = config, guide, folder
        self._usage, self._client = usage, client
        self._rules = Rules(config)
        self._rules.add([*folder.activation, *folder.evaluation])
        self._done = self._total = 0
        self._failure: BaseException | None = None
        self._spent_before = usage.cost, usage.tokens

    async def run(self, topics: Sequence[Topic]) -> list[str]:
        """Write topics; return the pairs that were given up. Raises as `ChatClient.ask` does."""
        self._total = len(topics)
        progress = WorkProgress(
            "build", self._total, "pairs", shown=True, seconds=self._config.progress_seconds,
            by_minute=True, note=self._describe_progress,
        )  # fmt: skip
        progress.start()
        queue = iter(topics)
        given_up: list[str] = []

        async def work() -> None:
            for topic in queue:
                try:
                    written = await self._write(topic)
                except BaseException as error:
                    # Requests in flight are awaited, and their answers kept.
                    self._failure = self._failure or error
                    self._client.stopping.set()
                    return
                given_up.extend([] if written else [topic.pair])
                self._done += 1
                progress.advance(1)

        try:
            await asyncio.gather(*(work() for _ in range(self._config.concurrency)))
        finally:
            progress.stop()
        if self._failure is not None:
            raise self._failure
        return given_up

    async def _write(self, topic: Topic) -> bool:
        """Write a topic; False if its answers are, or were, rejected too often."""
        try:
            items = await self._compose(topic)
            # Another task may have written the same in the meantime.
            self._rules.check_duplicates(items)
        except GivenUp:
            return False
        except Rejected as error:
            self._folder.reject(topic, str(error), [dataclasses.asdict(item) for item in items])
            return await self._write(topic)
        self._folder.accept(items)
        self._rules.add(items)
        return True

    async def _ask(
        self, topic: Topic, role: str, prompt: str, fields: Sequence[str], check: Check
    ) -> dict[str, str]:
        """An answer that passes `check`; others are recorded with the reason, and asked for again.

        `role` is LANGUAGE, or LANGUAGE/STANCE. The repeated request includes the reason, as some
        servers answer the same request with the same words. An answer accepted before a build was
        killed is reused. Raises GivenUp.
        """
        request = f"{role}\n{prompt}"
        if (draft := self._folder.find_draft(topic.pair, request)) is not None:
            with contextlib.suppress(Rejected):  # another task may have written the same
                check(draft)
                return draft
        turns, refused = [prompt], 0
        retry_prompt = self._guide.prompts["again", role.partition("/")[0]]
        while self._folder.rejects[topic.pair] + refused < self._config.attempts:
            try:
                answer = await self._client.ask(turns, fields)
                check(answer)
            except Refused as error:
                refused += 1
                self._folder.reject(topic, str(error), None, refused=True)
                continue
            except Malformed as error:
                reason, reply = str(error), error.content
                self._folder.reject(topic, reason, reply)
            except Rejected as error:
                reason, reply = str(error), json.dumps(answer, ensure_ascii=False)
                self._folder.reject(topic, reason, answer)
            else:
                self._folder.save_draft(topic.pair, request, answer)
                return answer
            turns = [prompt]
            if reply:
                turns += [reply, retry_prompt.safe_substitute(reason=reason)]
        raise GivenUp

    async def _compose(self, topic: Topic) -> list[ActivationItem] | list[EvaluationItem]:
        """Write all items of a topic. Raises GivenUp."""
        dilemmas: dict[str, dict[str, str]] = {}
        for language in self._config.languages:
            dilemmas[language] = await self._dilemma(topic, language, dilemmas)
        if topic.split == "evaluation":
            return [
                EvaluationItem(
                    id=f"{topic.pair}-{language}",
                    pair=topic.pair,
                    value=topic.value,
                    language=language,
                    setting=topic.setting,
                    rival=topic.rival,
                    **{name: texts[name] for name in DILEMMA_FIELDS},
                )
                for language, texts in dilemmas.items()
            ]
        stories: list[ActivationItem] = []
        for language, stance in product(self._config.languages, self._config.stances):
            stories.append(await self._story(topic, stance, language, dilemmas[language], stories))
        return stories

    async def _dilemma(
        self, topic: Topic, language: str, written: dict[str, dict[str, str]]
    ) -> dict[str, str]:
        """Write a dilemma in the first language, or retell it; `written` holds it by language."""
        step = "retell" if written else "dilemma"
        fields = DILEMMA_FIELDS if written else ("conflict", *DILEMMA_FIELDS)
        first = next(iter(written.values()), {})
        prompt = self._guide.prompts[step, language].safe_substitute(
            **self._guide.describe(topic, language),
            told="\n\n".join(first.get(name, "") for name in DILEMMA_FIELDS),
        )

        def check(answer: dict[str, str]) -> None:
            self._rules.check_dilemma(language, *(answer[name] for name in DILEMMA_FIELDS))

        return await self._ask(topic, language, prompt, fields, check)

    async def _story(
        self,
        topic: Topic,
        stance: str,
        language: str,
        dilemma: dict[str, str],
        written: Sequence[ActivationItem],
    ) -> ActivationItem:
        """Write the choice and rationale of one decision, unlike those of the pair in `written`."""
        other = "violating" if stance == "aligned" else "aligned"
        prompt = self._guide.prompts["rationale", language].safe_substitute(
            dilemma=dilemma["dilemma"],
            decision=dilemma[stance],
            other=dilemma[other],
            value=self._guide.values[topic.value][language]["name"],
        )

        def check(answer: dict[str, str]) -> None:
            self._rules.check_rationale(language, answer["choice"], answer["rationale"])
            self._rules.check_distinct(language, answer["rationale"], written)

        role = f"{language}/{stance}"
        answer = await self._ask(topic, role, prompt, ("choice", "rationale"), check)
        return ActivationItem(
            id=f"{topic.pair}-{language}-{stance}",
            pair=topic.pair,
            value=topic.value,
            language=language,
            stance=stance,
            dilemma=dilemma["dilemma"],
            choice=answer["choice"],
            rationale=answer["rationale"],
            setting=topic.setting,
            rival=topic.rival,
        )

    def _describe_progress(self) -> str:
        """Usage so far, and extrapolated to the whole build."""
        factor = self._total / max(1, self._done)
        cost, tokens = self._usage.cost, self._usage.tokens
        cost_before, tokens_before = self._spent_before
        expected_tokens = tokens_before + (tokens - tokens_before) * factor
        expected_cost = cost_before + (cost - cost_before) * factor
        return (
            f"{sum(self._folder.rejects.values()):,} rejected; {tokens:,} tokens of "
            f"{expected_tokens:,.0f} expected, cost {cost:,.4f} of {expected_cost:,.4f}"
        )

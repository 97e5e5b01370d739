"""Writing pairs: a few at a time, each through all its steps, until all topics are written."""

import asyncio
import contextlib
import dataclasses
import json
from collections.abc import Callable, Sequence
from itertools import product

from vxdist.corpus.builder.accept import Rejected, Rules
from vxdist.corpus.builder.answers import Malformed, Refused
from vxdist.corpus.builder.budget import Usage
from vxdist.corpus.builder.client import Writer
from vxdist.corpus.builder.config import BuildConfig
from vxdist.corpus.builder.folder import BuildFolder
from vxdist.corpus.builder.topics import Guide, Topic
from vxdist.corpus.items import ActivationItem, EvaluationItem
from vxdist.progress import WorkProgress

TOLD = ("dilemma", "aligned", "violating")
Check = Callable[[dict[str, str]], None]


class GivenUp(Exception):
    """A topic whose answers were rejected too often."""


class Build:
    """One run of the builder."""

    def __init__(
        self, config: BuildConfig, guide: Guide, folder: BuildFolder, usage: Usage, writer: Writer
    ) -> None:
        self._config, self._guide, self._folder = config, guide, folder
        self._usage, self._writer = usage, writer
        self._rules = Rules(config)
        self._rules.known([*folder.activation, *folder.evaluation])
        self._done = self._total = 0
        self._failure: BaseException | None = None
        self._spent_before = usage.cost, usage.tokens

    async def run(self, topics: Sequence[Topic]) -> list[str]:
        """Write topics; the pairs that were given up. Raises as `Writer.ask` does."""
        self._total = len(topics)
        progress = WorkProgress(
            "build", self._total, "pairs", shown=True, seconds=self._config.progress_seconds,
            by_minute=True, note=self._tell,
        )  # fmt: skip
        progress.start()
        queue = iter(topics)
        given_up: list[str] = []

        async def work() -> None:
            for topic in queue:
                try:
                    written = await self._write(topic)
                except BaseException as error:
                    # What the others have on its way is waited for, and kept.
                    self._failure = self._failure or error
                    self._writer.stopping.set()
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
        """Write a topic, unless its answers are, or were, rejected too often."""
        try:
            items = await self._compose(topic)
            # Others may have written the same meanwhile.
            self._rules.check_new(items)
        except GivenUp:
            return False
        except Rejected as error:
            self._folder.reject(topic, str(error), [dataclasses.asdict(item) for item in items])
            return await self._write(topic)
        self._folder.accept(items)
        self._rules.known(items)
        return True

    async def _ask(
        self, topic: Topic, role: str, prompt: str, fields: Sequence[str], check: Check
    ) -> dict[str, str]:
        """An answer that passes; one that does not is kept with the reason, and asked for again.

        `role` is LANGUAGE, or LANGUAGE/STANCE. The model is told the reason: some servers answer
        the same question in the same words. What passed before a build was killed is taken as it
        is. Raises GivenUp.
        """
        asked = f"{role}\n{prompt}"
        if (kept := self._folder.find_kept(topic.pair, asked)) is not None:
            with contextlib.suppress(Rejected):  # others may have written the same meanwhile
                check(kept)
                return kept
        talk, refused = [prompt], 0
        again = self._guide.prompts["again", role.partition("/")[0]]
        while self._folder.rejects[topic.pair] + refused < self._config.attempts:
            try:
                answer = await self._writer.ask(talk, fields)
                check(answer)
            except Refused as error:
                refused += 1
                self._folder.reject(topic, str(error), None, refused=True)
                continue
            except Malformed as error:
                reason, said = str(error), error.content
                self._folder.reject(topic, reason, said)
            except Rejected as error:
                reason, said = str(error), json.dumps(answer, ensure_ascii=False)
                self._folder.reject(topic, reason, answer)
            else:
                self._folder.keep(topic.pair, asked, answer)
                return answer
            talk = [prompt, said, again.safe_substitute(reason=reason)] if said else [prompt]
        raise GivenUp

    async def _compose(self, topic: Topic) -> list[ActivationItem] | list[EvaluationItem]:
        """All items of a topic. Raises GivenUp."""
        found: dict[str, dict[str, str]] = {}
        for language in self._config.languages:
            found[language] = await self._dilemma(topic, language, found)
        if topic.split == "evaluation":
            return [
                EvaluationItem(
                    id=f"{topic.pair}-{language}",
                    pair=topic.pair,
                    value=topic.value,
                    language=language,
                    setting=topic.setting,
                    rival=topic.rival,
                    **{name: told[name] for name in TOLD},
                )
                for language, told in found.items()
            ]
        stories: list[ActivationItem] = []
        for language, stance in product(self._config.languages, self._config.stances):
            stories.append(await self._story(topic, language, stance, found, stories))
        return stories

    async def _dilemma(
        self, topic: Topic, language: str, found: dict[str, dict[str, str]]
    ) -> dict[str, str]:
        """Write it in the first language, and tell it again in the others."""
        step, fields = ("retell", TOLD) if found else ("dilemma", ("conflict", *TOLD))
        first = next(iter(found.values()), {})
        prompt = self._guide.prompts[step, language].safe_substitute(
            **self._guide.tell(topic, language),
            told="\n\n".join(first.get(name, "") for name in TOLD),
        )

        def check(answer: dict[str, str]) -> None:
            self._rules.check_dilemma(language, *(answer[name] for name in TOLD))

        return await self._ask(topic, language, prompt, fields, check)

    async def _story(
        self,
        topic: Topic,
        language: str,
        stance: str,
        found: dict[str, dict[str, str]],
        written: Sequence[ActivationItem],
    ) -> ActivationItem:
        """The rationale of one decision; it must not be that of another in `written`."""
        told = found[language]
        other = "violating" if stance == "aligned" else "aligned"
        prompt = self._guide.prompts["rationale", language].safe_substitute(
            dilemma=told["dilemma"],
            decision=told[stance],
            other=told[other],
            value=self._guide.values[topic.value][language]["name"],
        )

        def check(answer: dict[str, str]) -> None:
            self._rules.check_rationale(language, answer["choice"], answer["rationale"])
            self._rules.check_unlike(language, answer["rationale"], written)

        role = f"{language}/{stance}"
        answer = await self._ask(topic, role, prompt, ("choice", "rationale"), check)
        return ActivationItem(
            id=f"{topic.pair}-{language}-{stance}",
            pair=topic.pair,
            value=topic.value,
            language=language,
            stance=stance,
            dilemma=told["dilemma"],
            choice=answer["choice"],
            rationale=answer["rationale"],
            setting=topic.setting,
            rival=topic.rival,
        )

    def _tell(self) -> str:
        """What it took so far, and what all will take if it goes on like this."""
        more = self._total / max(1, self._done)
        cost, tokens = self._usage.cost, self._usage.tokens
        cost_before, tokens_before = self._spent_before
        return (
            f"{sum(self._folder.rejects.values()):,} rejected; {tokens:,} tokens of "
            f"{tokens_before + (tokens - tokens_before) * more:,.0f} expected, cost {cost:,.4f} of "
            f"{cost_before + (cost - cost_before) * more:,.4f}"
        )

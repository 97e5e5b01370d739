"""Cutting stories into parts, and assigning parts to ranks."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from vxdist.errors import UserError
from vxdist.plan.batches import pack
from vxdist.plan.texts import TokenizedStory

Group = tuple[str, str, str]
"""(value, language, stance)."""
PLAN_VERSION = 2
"""How stories are cut into parts: 1, of earlier versions, dealt each group's by their order in it,
wherever other groups had the same dilemmas."""


class Telling(Protocol):
    """What decides the part of a story: one telling, in a language and a stance, of a dilemma."""

    @property
    def pair(self) -> str: ...
    @property
    def value(self) -> str: ...
    @property
    def language(self) -> str: ...
    @property
    def stance(self) -> str: ...
    @property
    def setting(self) -> str: ...


@dataclass(frozen=True, kw_only=True)
class Part:
    """Whole stories of one (value, language, stance), and the batches they run in.

    `batches` holds positions into the plan's stories.
    """

    index: int
    value: str
    language: str
    stance: str
    cluster: int
    """Number of its dilemmas within the value, from 0: all tellings of a dilemma have the same."""
    setting: str
    """The setting of all its stories; empty if they have none, or differ."""
    batches: tuple[tuple[int, ...], ...]
    story_count: int
    token_count: int
    """Number of tokens that count."""
    work: int
    """Number of tokens that run, padding included."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Everything that decides a count, fixed before a model is loaded."""

    stories: Sequence[TokenizedStory]
    parts: Sequence[Part]
    digest: str

    @property
    def token_count(self) -> int:
        """Number of tokens that count, over all parts."""
        return sum(part.token_count for part in self.parts)

    @property
    def padding(self) -> float:
        """Fraction of the tokens that run which is padding."""
        read = sum(len(story.token_ids_T) for story in self.stories)
        return 1 - read / sum(part.work for part in self.parts)


def make_plan(
    stories: Sequence[TokenizedStory],
    *,
    values: Sequence[str],
    languages: Sequence[str],
    parts_per_group: int | None,
    tokens_per_batch: int,
    max_padding: float,
) -> Plan:
    """Cut stories into parts by `deal`, and each part into batches.

    Parts come by value, then language, stance and number. The result depends only on the
    arguments, never on the number of ranks. Raises UserError if `parts_per_group` is not at least
    1, or a story is longer than a batch.
    """

    def place(key: tuple[Group, int]) -> tuple[int, int, str, int]:
        (value, language, stance), number = key
        return values.index(value), languages.index(language), stance, number

    dealt = deal(stories, parts_per_group)
    parts = tuple(
        _make_part(n, key, dealt[key], stories, tokens_per_batch, max_padding)
        for n, key in enumerate(sorted(dealt, key=place))
    )
    return Plan(stories=stories, parts=parts, digest=_digest(stories, parts))


def check_parts_per_group(parts_per_group: int | None) -> None:
    """Raise UserError if stories cannot be dealt to so many parts; None is one dilemma a part."""
    if parts_per_group is not None and parts_per_group < 1:
        raise UserError(
            f"locate.parts_per_group: {parts_per_group} must be at least 1, or null for one "
            "dilemma a part"
        )


def deal(
    stories: Sequence[Telling], parts_per_group: int | None
) -> dict[tuple[Group, int], list[int]]:
    """Positions of the stories of each part, by group and number of the part.

    The number is that of the story's dilemma among those of its value, by first appearance in
    `stories` over all languages and stances, modulo `parts_per_group`; so all tellings of a dilemma
    have the same. Numbers of which a group has no story are left out. Raises UserError as
    `check_parts_per_group` does.
    """
    check_parts_per_group(parts_per_group)
    ranks: dict[str, dict[str, int]] = {}
    parts: dict[tuple[Group, int], list[int]] = {}
    for position, story in enumerate(stories):
        of_value = ranks.setdefault(story.value, {})
        rank = of_value.setdefault(story.pair, len(of_value))
        number = rank if parts_per_group is None else rank % parts_per_group
        group = (story.value, story.language, story.stance)
        parts.setdefault((group, number), []).append(position)
    return parts


def count_clusters(
    stories: Sequence[Telling], parts_per_group: int | None
) -> dict[tuple[str, str], int]:
    """Number of clusters of dilemmas, as `deal` makes them, by value and language."""
    numbers: dict[tuple[str, str], set[int]] = {}
    for (value, language, _), number in deal(stories, parts_per_group):
        numbers.setdefault((value, language), set()).add(number)
    return {key: len(found) for key, found in numbers.items()}


def share_setting(stories: Iterable[Telling]) -> str:
    """The setting that all stories have; empty if there is none, or they differ."""
    settings = {story.setting for story in stories}
    return settings.pop() if len(settings) == 1 else ""


def _make_part(
    index: int,
    key: tuple[Group, int],
    positions: Sequence[int],
    stories: Sequence[TokenizedStory],
    tokens_per_batch: int,
    max_padding: float,
) -> Part:
    lengths = [len(stories[p].token_ids_T) for p in positions]
    packed = pack(lengths, tokens_per_batch=tokens_per_batch, max_padding=max_padding)
    (value, language, stance), number = key
    return Part(
        index=index,
        value=value,
        language=language,
        stance=stance,
        cluster=number,
        setting=share_setting(stories[p] for p in positions),
        batches=tuple(tuple(positions[i] for i in batch) for batch in packed),
        story_count=len(positions),
        token_count=sum(stories[p].counted for p in positions),
        work=sum(len(batch) * lengths[batch[0]] for batch in packed),
    )


def _digest(stories: Sequence[TokenizedStory], parts: Sequence[Part]) -> str:
    """SHA-256 of the labels and batches of every part, down to the tokens."""
    sha = hashlib.sha256(f"vxdist plan {PLAN_VERSION}\n".encode())
    for part in parts:
        labels = [part.value, part.language, part.stance, part.cluster]
        sha.update(json.dumps(labels).encode())
        for batch in part.batches:
            for position in batch:
                story = stories[position]
                sha.update(json.dumps([story.id, len(story.token_ids_T)]).encode())
                sha.update(story.token_ids_T.astype("<i4").tobytes())
                sha.update(story.counted_T.tobytes())
            sha.update(b"batch\n")
    return sha.hexdigest()


def assign(work: Mapping[int, int], num_ranks: int) -> tuple[tuple[int, ...], ...]:
    """Assign tasks (number -> tokens) to ranks: the largest first, to the least loaded rank.

    Returns the tasks of each rank, in the order in which to run them.
    """
    load = [0] * num_ranks
    assigned: list[list[int]] = [[] for _ in range(num_ranks)]
    for task in sorted(work, key=lambda t: (-work[t], t)):
        rank = load.index(min(load))
        assigned[rank].append(task)
        load[rank] += work[task]
    return tuple(tuple(tasks) for tasks in assigned)

"""Cutting stories into parts, and assigning parts to ranks."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import TypeVar

from vxdist.errors import UserError
from vxdist.plan.batches import pack
from vxdist.plan.texts import TokenizedStory

Group = tuple[str, str, str]
"""(value, language, stance)."""
Item = TypeVar("Item")


@dataclass(frozen=True, kw_only=True)
class Part:
    """Whole stories of one (value, language, stance), and the batches they run in.

    `batches` holds positions into the plan's stories.
    """

    index: int
    value: str
    language: str
    stance: str
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
    parts_per_group: int,
    tokens_per_batch: int,
    max_padding: float,
) -> Plan:
    """Cut each (value, language, stance) into `parts_per_group` parts, dealing stories in turn.

    Dealing in corpus order puts the languages of one dilemma into parts of the same number. The
    result depends only on the arguments, never on the number of ranks. Raises UserError if a
    group has fewer stories than parts.
    """
    groups: dict[Group, list[int]] = {}
    for position, story in enumerate(stories):
        groups.setdefault((story.value, story.language, story.stance), []).append(position)
    stances = sorted({stance for _, _, stance in groups})
    # Not every value comes in every stance.
    ordered = {g: groups[g] for g in product(values, languages, stances) if g in groups}
    parts = tuple(
        _make_part(n, group, dealt, stories, tokens_per_batch, max_padding)
        for n, (group, dealt) in enumerate(deal(ordered, parts_per_group))
    )
    return Plan(stories=stories, parts=parts, digest=_digest(stories, parts))


def deal(
    groups: Mapping[Group, Sequence[Item]], parts_per_group: int
) -> list[tuple[Group, Sequence[Item]]]:
    """Deal the items of each group in turn to its parts; returns group and items of each part.

    Raises UserError if a group has fewer items than parts.
    """
    if parts_per_group < 1:
        raise UserError(f"locate.parts_per_group: {parts_per_group} must be at least 1")
    for group, items in groups.items():
        if len(items) < parts_per_group:
            raise UserError(
                f"locate.parts_per_group: {parts_per_group} is more than the {len(items)} "
                f"stories of {'/'.join(group)}; lower it to that at most"
            )
    return [
        (group, items[n::parts_per_group])
        for group, items in groups.items()
        for n in range(parts_per_group)
    ]


def _make_part(
    index: int,
    group: Group,
    positions: Sequence[int],
    stories: Sequence[TokenizedStory],
    tokens_per_batch: int,
    max_padding: float,
) -> Part:
    lengths = [len(stories[p].token_ids_T) for p in positions]
    packed = pack(lengths, tokens_per_batch=tokens_per_batch, max_padding=max_padding)
    value, language, stance = group
    return Part(
        index=index,
        value=value,
        language=language,
        stance=stance,
        batches=tuple(tuple(positions[i] for i in batch) for batch in packed),
        story_count=len(positions),
        token_count=sum(stories[p].counted for p in positions),
        work=sum(len(batch) * lengths[batch[0]] for batch in packed),
    )


def _digest(stories: Sequence[TokenizedStory], parts: Sequence[Part]) -> str:
    """SHA-256 of the labels and batches of every part, down to the tokens."""
    sha = hashlib.sha256(b"vxdist plan 1\n")
    for part in parts:
        sha.update(json.dumps([part.value, part.language, part.stance]).encode())
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

"""Cutting stories into parts, and sharing parts out over ranks."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from vxdist.errors import UserError
from vxdist.plan.batches import pack
from vxdist.plan.texts import TokenizedStory


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
    """Tokens that count."""
    work: int
    """Tokens that run, padding included."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Everything that decides a count, fixed before a model is loaded."""

    stories: Sequence[TokenizedStory]
    parts: Sequence[Part]
    digest: str

    @property
    def token_count(self) -> int:
        """Tokens that count, over all parts."""
        return sum(part.token_count for part in self.parts)

    @property
    def padding(self) -> float:
        """Share of the tokens that run which are padding."""
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
    result depends on the arguments alone, never on the number of ranks. Raises UserError if a
    group has fewer stories than parts.
    """
    if parts_per_group < 1:
        raise UserError(f"locate.parts_per_group: {parts_per_group} must be at least 1")
    groups: dict[tuple[str, str, str], list[int]] = {}
    for position, story in enumerate(stories):
        groups.setdefault((story.value, story.language, story.stance), []).append(position)
    stances = sorted({stance for _, _, stance in groups})
    parts: list[Part] = []
    for group in ((v, g, s) for v in values for g in languages for s in stances):
        positions = groups.get(group, [])
        if not positions:
            continue  # a value may come in one stance only
        if len(positions) < parts_per_group:
            raise UserError(
                f"locate.parts_per_group: {parts_per_group} is more than the {len(positions)} "
                f"stories of {'/'.join(group)}; lower it to that at most"
            )
        for number in range(parts_per_group):
            dealt = positions[number::parts_per_group]
            parts.append(
                _make_part(len(parts), group, dealt, stories, tokens_per_batch, max_padding)
            )
    return Plan(stories=stories, parts=tuple(parts), digest=_digest(stories, parts))


def _make_part(
    index: int,
    group: tuple[str, str, str],
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
    """SHA-256 over every part's labels and batches, down to the tokens."""
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


def share(work: Mapping[int, int], num_ranks: int) -> tuple[tuple[int, ...], ...]:
    """Share units (key -> tokens) out over ranks: the largest first, to the least loaded rank.

    Returns each rank's keys, in the order to run them.
    """
    load = [0] * num_ranks
    shares: list[list[int]] = [[] for _ in range(num_ranks)]
    for key in sorted(work, key=lambda k: (-work[k], k)):
        rank = load.index(min(load))
        shares[rank].append(key)
        load[rank] += work[key]
    return tuple(tuple(keys) for keys in shares)

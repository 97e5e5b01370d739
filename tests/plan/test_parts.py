"""Laws of the plan: every story in one part, parts alike within, a digest of all that counts."""

import dataclasses
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vxdist.errors import UserError
from vxdist.plan import Plan, TokenizedStory, assign, make_plan

VALUES, LANGUAGES, STANCES = ("calm", "zeal"), ("zh", "en"), ("aligned", "violating")
GROUPS = [(v, g, s) for v in VALUES for g in LANGUAGES for s in STANCES]
SETTINGS: dict[str, Any] = {
    "values": VALUES,
    "languages": LANGUAGES,
    "parts_per_group": 2,
    "tokens_per_batch": 64,
    "max_padding": 0.2,
}


def make_story(number: int, group: tuple[str, str, str], length: int) -> TokenizedStory:
    """A story of `length` tokens, the first of which is special."""
    value, language, stance = group
    counted_T = np.ones(length, dtype=bool)
    counted_T[0] = False
    return TokenizedStory(
        id=f"s{number}",
        value=value,
        language=language,
        stance=stance,
        token_ids_T=np.arange(number, number + length, dtype=np.int32),
        counted_T=counted_T,
    )


@st.composite
def corpora(draw: st.DrawFn) -> tuple[list[TokenizedStory], int]:
    """Stories of some groups, mixed, and a number of parts that each group can fill."""
    parts = draw(st.integers(1, 3))
    zeal = [(v, g, s) for v, g, s in GROUPS if v == "zeal" and s == "violating"]
    groups = GROUPS if draw(st.booleans()) else [g for g in GROUPS if g not in zeal]
    labels = [g for g in groups for _ in range(draw(st.integers(parts, 4)))]
    labels = draw(st.permutations(labels))
    lengths = draw(st.lists(st.integers(2, 60), min_size=len(labels), max_size=len(labels)))
    stories = [make_story(n, g, k) for n, (g, k) in enumerate(zip(labels, lengths, strict=True))]
    return stories, parts


@pytest.fixture
def stories() -> list[TokenizedStory]:
    """Four stories of each group, of 20, 21, 22 and 29 tokens."""
    return [make_story(n, GROUPS[n % 8], (20, 21, 22, 29)[n // 8]) for n in range(32)]


class TestMakePlan:
    @settings(max_examples=60)
    @given(corpora())
    def test_every_story_is_in_one_part(self, corpus: tuple[list[TokenizedStory], int]) -> None:
        stories, parts = corpus
        plan = make_plan(stories, **{**SETTINGS, "parts_per_group": parts})
        planned = [i for part in plan.parts for batch in part.batches for i in batch]
        assert sorted(planned) == list(range(len(stories)))
        assert [part.index for part in plan.parts] == list(range(len(plan.parts)))

    @settings(max_examples=60)
    @given(corpora())
    def test_a_part_holds_one_group_and_a_group_its_parts(
        self, corpus: tuple[list[TokenizedStory], int]
    ) -> None:
        stories, parts = corpus
        plan = make_plan(stories, **{**SETTINGS, "parts_per_group": parts})
        for part in plan.parts:
            held = [stories[i] for batch in part.batches for i in batch]
            assert {(s.value, s.language, s.stance) for s in held} == {
                (part.value, part.language, part.stance)
            }
        groups = Counter((s.value, s.language, s.stance) for s in stories)
        made = Counter((p.value, p.language, p.stance) for p in plan.parts)
        assert made == dict.fromkeys(groups, parts)
        for group, size in groups.items():
            sizes = [p.story_count for p in plan.parts
                     if (p.value, p.language, p.stance) == group]  # fmt: skip
            assert sum(sizes) == size
            assert max(sizes) - min(sizes) <= 1

    @settings(max_examples=60)
    @given(corpora())
    def test_counts_add_up(self, corpus: tuple[list[TokenizedStory], int]) -> None:
        stories, parts = corpus
        plan = make_plan(stories, **{**SETTINGS, "parts_per_group": parts})
        for part in plan.parts:
            held = [stories[i] for batch in part.batches for i in batch]
            assert part.token_count == sum(int(s.counted_T.sum()) for s in held)
            assert part.work == sum(
                len(b) * max(len(stories[i].token_ids_T) for i in b) for b in part.batches
            )
        assert plan.token_count == sum(len(s.token_ids_T) - 1 for s in stories)
        run = sum(part.work for part in plan.parts)
        assert plan.padding == pytest.approx(1 - sum(len(s.token_ids_T) for s in stories) / run)

    def test_parts_come_by_value_then_language(self, stories: list[TokenizedStory]) -> None:
        plan = make_plan(stories, **{**SETTINGS, "values": ("zeal", "calm")})
        labels = [(p.value, p.language) for p in plan.parts]
        assert labels == [(v, g) for v in ("zeal", "calm") for g in LANGUAGES for _ in range(4)]

    def test_the_languages_of_a_dilemma_meet_in_parts_of_one_number(self) -> None:
        """Stories come dilemma by dilemma; story n of a group belongs to dilemma n."""
        stories = [make_story(n, GROUPS[n % 8], 9) for n in range(40)]
        plan = make_plan(stories, **SETTINGS)
        number = Counter[tuple[str, str, str]]()
        dilemmas: dict[tuple[str, str, int], set[int]] = {}
        for part in plan.parts:
            group = (part.value, part.language, part.stance)
            held = {i // 8 for batch in part.batches for i in batch}
            first = dilemmas.setdefault((part.value, part.stance, number[group]), held)
            assert first == held
            number[group] += 1

    def test_too_few_stories_are_refused(self, stories: list[TokenizedStory]) -> None:
        with pytest.raises(UserError, match=r"parts_per_group: 5 .* 4 stories of calm/zh/aligned"):
            make_plan(stories, **{**SETTINGS, "parts_per_group": 5})
        with pytest.raises(UserError, match="parts_per_group: 0"):
            make_plan(stories, **{**SETTINGS, "parts_per_group": 0})


def change(stories: list[TokenizedStory], at: int, **fields: Any) -> list[TokenizedStory]:
    """`stories` with fields of one of them replaced."""
    changed = dataclasses.replace(stories[at], **fields)
    return [*stories[:at], changed, *stories[at + 1 :]]


def spoil(numbers_T: np.ndarray[Any, Any], at: int) -> np.ndarray[Any, Any]:
    """A copy with one entry changed."""
    copy_T = numbers_T.copy()
    copy_T[at] = not copy_T[at] if copy_T.dtype == bool else copy_T[at] + 1
    return copy_T


CHANGES: dict[str, Callable[[list[TokenizedStory]], Plan]] = {
    "a token": lambda s: make_plan(
        change(s, 7, token_ids_T=spoil(s[7].token_ids_T, 3)), **SETTINGS
    ),
    "what counts": lambda s: make_plan(
        change(s, 7, counted_T=spoil(s[7].counted_T, 3)), **SETTINGS
    ),
    "an id": lambda s: make_plan(change(s, 7, id="other"), **SETTINGS),
    "a name of a value": lambda s: make_plan(
        [dataclasses.replace(x, value={"zeal": "zest"}.get(x.value, x.value)) for x in s],
        **{**SETTINGS, "values": ("calm", "zest")},
    ),
    "the order of stories": lambda s: make_plan([*s[8:], *s[:8]], **SETTINGS),
    "the order of values": lambda s: make_plan(s, **{**SETTINGS, "values": ("zeal", "calm")}),
    "the order of languages": lambda s: make_plan(s, **{**SETTINGS, "languages": ("en", "zh")}),
    "the number of parts": lambda s: make_plan(s, **{**SETTINGS, "parts_per_group": 3}),
    "the batches": lambda s: make_plan(s, **{**SETTINGS, "tokens_per_batch": 30}),
    "the padding": lambda s: make_plan(s, **{**SETTINGS, "max_padding": 0.1}),
    "fewer stories": lambda s: make_plan(s[:-1], **SETTINGS),
}


class TestDigest:
    @pytest.mark.parametrize("what", CHANGES)
    def test_changes_with(self, stories: list[TokenizedStory], what: str) -> None:
        changed = CHANGES[what](stories)
        assert changed.digest != make_plan(stories, **SETTINGS).digest

    def test_every_change_gives_another_digest(self, stories: list[TokenizedStory]) -> None:
        digests = [make(stories).digest for make in CHANGES.values()]
        assert len(set(digests)) == len(digests)

    def test_labels_with_tabs_are_not_confused(self) -> None:
        digests = set()
        for value, language in (("calm\tzh", "plain"), ("calm", "zh\tplain")):
            story = make_story(0, (value, language, "aligned"), 9)
            one = {**SETTINGS, "values": [value], "languages": [language], "parts_per_group": 1}
            digests.add(make_plan([story], **one).digest)
        assert len(digests) == 2

    def test_does_not_depend_on_how_the_numbers_are_held(
        self, stories: list[TokenizedStory]
    ) -> None:
        """Another byte order, another container, another run: the same digest."""
        other = tuple(
            dataclasses.replace(story, token_ids_T=story.token_ids_T.astype(">i8"))
            for story in stories
        )
        settings_again = {**SETTINGS, "values": list(VALUES), "languages": list(LANGUAGES)}
        assert make_plan(other, **settings_again).digest == make_plan(stories, **SETTINGS).digest

    def test_does_not_depend_on_settings_that_change_no_batch(
        self, stories: list[TokenizedStory]
    ) -> None:
        wide = {**SETTINGS, "tokens_per_batch": 5000, "max_padding": 0.9}
        wider = {**SETTINGS, "tokens_per_batch": 9000, "max_padding": 0.95}
        assert make_plan(stories, **wide).digest == make_plan(stories, **wider).digest

    def test_stays_the_same_from_version_to_version(self) -> None:
        """A store written today must be known again tomorrow: change it only with the format."""
        stories = [make_story(n, GROUPS[n % 8], 5 + n) for n in range(16)]
        digest = make_plan(stories, **SETTINGS).digest
        assert digest == "425808a5a71755a21c5375e57171e06428701c20ad10d01e9e855cdd3bc69fd7"


WORK = st.dictionaries(st.integers(0, 500), st.integers(0, 1000), max_size=40)


class TestAssign:
    @given(WORK, st.integers(1, 70))
    def test_every_task_goes_to_one_rank(self, work: dict[int, int], num_ranks: int) -> None:
        assigned = assign(work, num_ranks)
        assert len(assigned) == num_ranks
        assert sorted(key for keys in assigned for key in keys) == sorted(work)

    @given(WORK, st.integers(1, 70))
    def test_is_balanced(self, work: dict[int, int], num_ranks: int) -> None:
        loads = [sum(work[key] for key in keys) for keys in assign(work, num_ranks)]
        assert max(loads) - min(loads) <= max(work.values(), default=0)

    @given(WORK, st.integers(1, 8))
    def test_depends_on_the_work_alone(self, work: dict[int, int], num_ranks: int) -> None:
        backwards = dict(reversed(work.items()))
        assert assign(work, num_ranks) == assign(backwards, num_ranks)

    @given(WORK, st.integers(1, 8))
    def test_each_rank_takes_its_largest_first(self, work: dict[int, int], num_ranks: int) -> None:
        for keys in assign(work, num_ranks):
            loads = [work[key] for key in keys]
            assert loads == sorted(loads, reverse=True)

    def test_by_hand(self) -> None:
        work = {0: 5, 1: 9, 2: 4, 3: 4, 4: 1}
        assert assign(work, 2) == ((1, 3), (0, 2, 4))
        assert assign(work, 1) == ((1, 0, 2, 3, 4),)
        assert assign({}, 3) == ((), (), ())

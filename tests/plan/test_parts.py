"""Laws of the plan: every story in one part, parts alike within, a digest of all that counts."""

import dataclasses
from collections import Counter
from collections.abc import Callable
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vxdist.errors import UserError
from vxdist.plan import Part, Plan, TokenizedStory, assign, make_plan

VALUES, LANGUAGES, STANCES = ("calm", "zeal"), ("zh", "en"), ("aligned", "violating")
GROUPS = [(v, g, s) for v in VALUES for g in LANGUAGES for s in STANCES]
SETTINGS: dict[str, Any] = {
    "values": VALUES,
    "languages": LANGUAGES,
    "parts_per_group": 2,
    "tokens_per_batch": 64,
    "max_padding": 0.2,
}


def make_story(
    number: int,
    group: tuple[str, str, str],
    length: int,
    pair: int | None = None,
    setting: str = "",
) -> TokenizedStory:
    """A story of `length` tokens, the first of which is special."""
    value, language, stance = group
    pair = number // 8 if pair is None else pair
    counted_T = np.ones(length, dtype=bool)
    counted_T[0] = False
    return TokenizedStory(
        id=f"s{number}",
        value=value,
        language=language,
        stance=stance,
        pair=f"{value}-{pair}",
        setting=setting,
        token_ids_T=np.arange(number, number + length, dtype=np.int32),
        counted_T=counted_T,
    )


@st.composite
def corpora(draw: st.DrawFn) -> tuple[list[TokenizedStory], int | None]:
    """Stories, mixed: each group tells some of the value's dilemmas; and a number of parts."""
    dilemmas = st.lists(st.integers(0, 4), max_size=5, unique=True)
    told = draw(st.permutations([(g, pair) for g in GROUPS for pair in draw(dilemmas)]))
    stories = [
        make_story(n, group, draw(st.integers(2, 60)), pair, draw(st.sampled_from(("", "sea"))))
        for n, (group, pair) in enumerate(told)
    ]
    return stories, draw(st.none() | st.integers(1, 6))


def held_by(part: Part, stories: list[TokenizedStory]) -> list[TokenizedStory]:
    """The stories of a part."""
    return [stories[i] for batch in part.batches for i in batch]


@pytest.fixture
def stories() -> list[TokenizedStory]:
    """Four stories of each group, of 20, 21, 22 and 29 tokens."""
    return [make_story(n, GROUPS[n % 8], (20, 21, 22, 29)[n // 8]) for n in range(32)]


class TestMakePlan:
    @settings(max_examples=60)
    @given(corpora())
    def test_every_story_is_in_one_part(
        self, corpus: tuple[list[TokenizedStory], int | None]
    ) -> None:
        stories, parts = corpus
        plan = make_plan(stories, **{**SETTINGS, "parts_per_group": parts})
        planned = [i for part in plan.parts for batch in part.batches for i in batch]
        assert sorted(planned) == list(range(len(stories)))
        assert [part.index for part in plan.parts] == list(range(len(plan.parts)))

    @settings(max_examples=60)
    @given(corpora())
    def test_a_part_holds_one_group_and_is_alone_with_its_number(
        self, corpus: tuple[list[TokenizedStory], int | None]
    ) -> None:
        stories, parts = corpus
        plan = make_plan(stories, **{**SETTINGS, "parts_per_group": parts})
        for part in plan.parts:
            held = held_by(part, stories)
            assert {(s.value, s.language, s.stance) for s in held} == {
                (part.value, part.language, part.stance)
            }
            assert {s.setting for s in held} == {part.setting} or part.setting == ""
        labels = [(p.value, p.language, p.stance, p.cluster) for p in plan.parts]
        assert len(set(labels)) == len(labels)

    @settings(max_examples=100)
    @given(corpora(), st.randoms(use_true_random=False))
    def test_all_tellings_of_a_dilemma_have_one_number(
        self, corpus: tuple[list[TokenizedStory], int | None], random: Random
    ) -> None:
        """In whatever order each group lists its stories, and whichever of them it has."""
        stories, parts = corpus
        for _ in range(2):
            plan = make_plan(stories, **{**SETTINGS, "parts_per_group": parts})
            numbers: dict[str, set[int]] = {}
            for part in plan.parts:
                for story in held_by(part, stories):
                    numbers.setdefault(story.pair, set()).add(part.cluster)
            assert all(len(found) == 1 for found in numbers.values())
            assert all(number < (parts or 5) for found in numbers.values() for number in found)
            for group in GROUPS:
                shuffle_group(stories, group, random)

    @settings(max_examples=60)
    @given(corpora())
    def test_dilemmas_are_dealt_evenly(
        self, corpus: tuple[list[TokenizedStory], int | None]
    ) -> None:
        stories, parts = corpus
        plan = make_plan(stories, **{**SETTINGS, "parts_per_group": parts})
        for value in VALUES:
            found = {(p.cluster, s.pair) for p in plan.parts if p.value == value
                     for s in held_by(p, stories)}  # fmt: skip
            sizes = Counter(number for number, _ in found)
            expected = len(found) if parts is None else min(parts, len(found))
            assert sorted(sizes) == list(range(expected))
            assert max(sizes.values(), default=0) - min(sizes.values(), default=0) <= 1

    @settings(max_examples=60)
    @given(corpora())
    def test_without_a_number_each_dilemma_is_a_part(
        self, corpus: tuple[list[TokenizedStory], int | None]
    ) -> None:
        stories, _ = corpus
        plan = make_plan(stories, **{**SETTINGS, "parts_per_group": None})
        assert all(part.story_count == 1 for part in plan.parts)
        pairs = {s.value: len({t.pair for t in stories if t.value == s.value}) for s in stories}
        for value, expected in pairs.items():
            clusters = {part.cluster for part in plan.parts if part.value == value}
            assert clusters == set(range(expected))

    @settings(max_examples=60)
    @given(corpora())
    def test_counts_add_up(self, corpus: tuple[list[TokenizedStory], int | None]) -> None:
        stories, parts = corpus
        plan = make_plan(stories, **{**SETTINGS, "parts_per_group": parts})
        for part in plan.parts:
            held = held_by(part, stories)
            assert part.token_count == sum(int(s.counted_T.sum()) for s in held)
            assert part.work == sum(
                len(b) * max(len(stories[i].token_ids_T) for i in b) for b in part.batches
            )
        assert plan.token_count == sum(len(s.token_ids_T) - 1 for s in stories)
        run = sum(part.work for part in plan.parts)
        assert not stories or plan.padding == pytest.approx(
            1 - sum(len(s.token_ids_T) for s in stories) / run
        )

    def test_parts_come_by_value_then_language(self, stories: list[TokenizedStory]) -> None:
        plan = make_plan(stories, **{**SETTINGS, "values": ("zeal", "calm")})
        labels = [(p.value, p.language) for p in plan.parts]
        assert labels == [(v, g) for v in ("zeal", "calm") for g in LANGUAGES for _ in range(4)]

    def test_dilemmas_are_numbered_by_first_appearance_over_all_groups(self) -> None:
        told = [("calm", "zh", "violating", 7), ("calm", "en", "aligned", 3),
                ("calm", "zh", "aligned", 3), ("zeal", "en", "aligned", 9),
                ("calm", "en", "aligned", 7), ("calm", "en", "aligned", 1)]  # fmt: skip
        stories = [make_story(n, (v, g, s), 9, pair) for n, (v, g, s, pair) in enumerate(told)]
        plan = make_plan(stories, **SETTINGS)
        found = [(p.value, p.language, p.stance, p.cluster, p.batches) for p in plan.parts]
        assert found == [
            ("calm", "zh", "aligned", 1, ((2,),)),
            ("calm", "zh", "violating", 0, ((0,),)),
            ("calm", "en", "aligned", 0, ((4, 5),)),
            ("calm", "en", "aligned", 1, ((1,),)),
            ("zeal", "en", "aligned", 0, ((3,),)),
        ]

    def test_a_part_has_the_setting_that_all_its_stories_share(self) -> None:
        group = ("calm", "zh", "aligned")
        settings_of = ("sea", "sea", "sea", "hill", "", "")
        stories = [make_story(n, group, 9, n // 2, s) for n, s in enumerate(settings_of)]
        plan = make_plan(stories, **{**SETTINGS, "parts_per_group": 3})
        assert [part.setting for part in plan.parts] == ["sea", "", ""]

    def test_more_parts_than_dilemmas_leave_some_out(self, stories: list[TokenizedStory]) -> None:
        many, one_each = (
            make_plan(stories, **{**SETTINGS, "parts_per_group": n}) for n in (99, None)
        )
        assert many == one_each
        assert len(many.parts) == len(stories)

    @pytest.mark.parametrize("number", [0, -1])
    def test_fewer_than_one_part_is_refused(
        self, stories: list[TokenizedStory], number: int
    ) -> None:
        with pytest.raises(UserError, match=f"parts_per_group: {number} must be at least 1"):
            make_plan(stories, **{**SETTINGS, "parts_per_group": number})


def shuffle_group(
    stories: list[TokenizedStory], group: tuple[str, str, str], random: Random
) -> None:
    """Put the stories of one group into another order, in the places that the group has."""
    places = [n for n, s in enumerate(stories) if (s.value, s.language, s.stance) == group]
    shuffled = [stories[n] for n in random.sample(places, len(places))]
    for place, story in zip(places, shuffled, strict=True):
        stories[place] = story


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
    "the dilemma of a story": lambda s: make_plan(change(s, 7, pair="calm-1"), **SETTINGS),
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
        """A store written today must be known again tomorrow: change it only with PLAN_VERSION."""
        stories = [make_story(n, GROUPS[n % 8], 5 + n) for n in range(16)]
        digest = make_plan(stories, **SETTINGS).digest
        assert digest == "c2911f8abcc44e000eaf8b47e69f3cd57e2d0477d71db5b816eb352126137fb3"


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

"""Laws of packing: every text once, within the budget, little padding, always the same."""

from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vxdist.errors import UserError
from vxdist.plan import pack

LENGTHS = st.lists(st.integers(1, 60), max_size=40)
PADDING = st.floats(0, 0.99)


def widths(lengths: Sequence[int], batches: Sequence[Sequence[int]]) -> list[int]:
    """Length of the longest text of each batch."""
    return [max(lengths[i] for i in batch) for batch in batches]


@given(LENGTHS, st.integers(60, 300), PADDING)
def test_every_text_is_in_one_batch(lengths: list[int], budget: int, most: float) -> None:
    batches = pack(lengths, tokens_per_batch=budget, max_padding=most)
    assert sorted(i for batch in batches for i in batch) == list(range(len(lengths)))
    assert all(batches)


@given(LENGTHS, st.integers(60, 300), PADDING)
def test_budget_and_padding_hold(lengths: list[int], budget: int, most: float) -> None:
    batches = pack(lengths, tokens_per_batch=budget, max_padding=most)
    for batch, width in zip(batches, widths(lengths, batches), strict=True):
        padded = width * len(batch)
        assert padded <= budget
        padding = padded - sum(lengths[i] for i in batch)
        assert padding <= most * padded * (1 + 1e-12)


@given(LENGTHS, st.integers(60, 300), PADDING)
def test_the_same_arguments_give_the_same_batches(
    lengths: list[int], budget: int, most: float
) -> None:
    first, again = (
        pack(list(lengths), tokens_per_batch=budget, max_padding=most) for _ in range(2)
    )
    assert first == again


@given(LENGTHS, st.integers(60, 300), PADDING)
def test_longest_first_and_ties_in_order(lengths: list[int], budget: int, most: float) -> None:
    batches = pack(lengths, tokens_per_batch=budget, max_padding=most)
    order = [i for batch in batches for i in batch]
    assert order == sorted(order, key=lambda i: (-lengths[i], i))


@given(LENGTHS, st.integers(60, 300), PADDING)
def test_no_batch_could_have_taken_the_next_text(
    lengths: list[int], budget: int, most: float
) -> None:
    batches = pack(lengths, tokens_per_batch=budget, max_padding=most)
    for batch, following in pairwise(batches):
        more = [*batch, following[0]]
        padded = lengths[batch[0]] * len(more)
        padding = padded - sum(lengths[i] for i in more)
        assert padded > budget or padding > most * padded * (1 - 1e-12)


def test_by_hand() -> None:
    lengths = [3, 10, 5, 10, 9]
    assert pack(lengths, tokens_per_batch=30, max_padding=0.05) == ((1, 3, 4), (2,), (0,))
    assert pack(lengths, tokens_per_batch=20, max_padding=0.0) == ((1, 3), (4,), (2,), (0,))
    assert pack(lengths, tokens_per_batch=50, max_padding=0.5) == ((1, 3, 4, 2, 0),)


def test_nothing_to_pack() -> None:
    assert pack([], tokens_per_batch=8, max_padding=0.1) == ()


def test_a_text_over_the_budget_is_refused() -> None:
    assert pack([8], tokens_per_batch=8, max_padding=0) == ((0,),)
    with pytest.raises(UserError, match=r"tokens_per_batch: 8 .* longest text \(9 tokens\)"):
        pack([1, 9], tokens_per_batch=8, max_padding=0)


@pytest.mark.parametrize("most", [-0.1, 1.0, 2.0, float("nan")])
def test_padding_out_of_range_is_refused(most: float) -> None:
    with pytest.raises(UserError, match="max_padding"):
        pack([1], tokens_per_batch=8, max_padding=most)

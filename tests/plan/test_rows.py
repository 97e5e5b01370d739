"""Rows hold every text whole, and each of its tokens sees just what it sees alone."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from vxdist.plan import share_rows, stand_alone

TEXTS = st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=9), min_size=1, max_size=9)


def as_arrays(texts: list[list[int]]) -> list[np.ndarray]:
    return [np.array(text, dtype=np.int32) for text in texts]


@given(texts=TEXTS, most=st.integers(1, 40))
def test_each_text_stands_whole_and_sees_itself(texts: list[list[int]], most: int) -> None:
    rows = share_rows(as_arrays(texts), most)
    assert sorted(n for row in rows for n in row.texts) == list(range(len(texts)))
    for row in rows:
        attends_WW = row.attends_WW()
        for n, place_T in zip(row.texts, row.places, strict=True):
            assert row.token_ids_W[place_T].tolist() == texts[n]
            assert row.positions_W[place_T].tolist() == list(range(len(texts[n])))
            for t, place in enumerate(place_T):
                assert np.flatnonzero(attends_WW[place]).tolist() == place_T[: t + 1].tolist()


@given(texts=TEXTS, most=st.integers(1, 40))
def test_rows_are_no_wider_than_allowed(texts: list[list[int]], most: int) -> None:
    longest = max(map(len, texts))
    for row in share_rows(as_arrays(texts), most):
        assert len(row) <= max(min(most, 2 * longest), *(len(texts[n]) for n in row.texts))


def test_what_texts_share_stands_once() -> None:
    prompt = list(range(10))
    texts = as_arrays([[*prompt, 11, 12], [*prompt, 13], [20, 21], [*prompt, 11, 14]])
    rows = share_rows(texts, 100)
    assert [row.texts for row in rows] == [(0, 3, 1), (2,)]
    assert rows[0].token_ids_W.tolist() == [*prompt, 11, 12, 14, 13]
    assert [len(row) for row in stand_alone(texts)] == [12, 11, 2, 12]


def test_texts_that_share_little_stand_apart() -> None:
    texts = as_arrays([[1, 2, 3, 4, 5, 6, 7, 8], [1, 9, 9, 9, 9, 9, 9, 9]])
    assert [row.texts for row in share_rows(texts, 100)] == [(0,), (1,)]

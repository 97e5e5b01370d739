"""Rows of statistics, and the laws that they obey."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vxstore.statistics import STATISTICS, Law, Statistic

FLOATS = st.floats(-(2.0**99), 2.0**99)
LAWS = st.sampled_from([Law(combine="sum"), Law(combine="max")])
COUNTED = Statistic(
    name="large_count",
    record_dtype="int32",
    total_dtype="int64",
    combine="sum",
    bound="tokens",
    units="tokens",
    long_name="tokens on which the activation is large",
    record_long_name="the same of the part",
)


class TestLaw:
    @given(law=LAWS, parts=st.lists(st.lists(FLOATS, min_size=1), min_size=1), data=st.data())
    def test_the_order_of_parts_does_not_matter(
        self, law: Law, parts: list[list[float]], data: st.DataObject
    ) -> None:
        every = np.concatenate(parts)
        whole = law.pool(every, axis=0)
        total = np.full(1, law.empty)
        for part in data.draw(st.permutations(parts)):
            law.merge(total, law.pool(np.array(part), axis=0)[None])
        if law.combine == "max":
            assert total[0] == whole == max(every)
        else:
            np.testing.assert_allclose(total[0], whole, atol=1e-12 * np.abs(every).sum())

    @given(law=LAWS, number=FLOATS)
    def test_nothing_changes_nothing(self, law: Law, number: float) -> None:
        total = np.array([number])
        law.merge(total, np.array([law.empty]))
        assert total[0] == number

    @pytest.mark.parametrize(
        ("law", "number", "tokens", "sound"),
        [
            (Law(combine="sum"), -3.5, 0, True),
            (Law(combine="sum"), np.nan, None, False),
            (Law(combine="sum"), -np.inf, 0, False),
            (Law(combine="sum", bound="non-negative"), -3.5, 5, False),
            (Law(combine="sum", bound="tokens"), 5, 5, True),
            (Law(combine="sum", bound="tokens"), 6, 5, False),
            (Law(combine="sum", bound="tokens"), 6, None, True),
            (Law(combine="sum", bound="tokens"), 6, -1, True),
            (Law(combine="sum", bound="tokens"), -1, -1, False),
            (Law(combine="max"), -3.5, 5, True),
            (Law(combine="max"), -3.5, 0, False),
            (Law(combine="max"), -np.inf, 0, True),
            (Law(combine="max"), -np.inf, 5, False),
            (Law(combine="max"), -np.inf, -1, True),
            (Law(combine="max"), -np.inf, None, True),
            (Law(combine="max"), np.inf, 5, False),
            (Law(combine="max"), np.nan, 0, False),
            (Law(combine="max"), np.nan, -1, False),
            (Law(combine="max", bound="non-negative"), -0.5, 5, False),
            (Law(combine="max", bound="non-negative"), -np.inf, 0, True),
        ],
    )
    def test_what_is_possible(
        self, law: Law, number: float, tokens: int | None, sound: bool
    ) -> None:
        assert law.holds(np.array([number]), tokens).tolist() == [sound]
        if tokens is not None:
            assert law.holds(np.array([number]), np.array([tokens])).tolist() == [sound]

    def test_less_is_known_of_emptiness_by_an_upper_limit(self) -> None:
        law, number = Law(combine="max"), np.array([-np.inf, 1.0, np.nan])
        assert law.holds(number, 5, exact=False).tolist() == [True, True, False]

    @pytest.mark.parametrize(
        ("change", "why"),
        [
            ({"record_dtype": "float32"}, "both"),
            ({"record_dtype": "bool", "total_dtype": "bool"}, "both"),
            ({"bound": None}, "-1 marks"),
            ({"combine": "max"}, "-1 marks"),
            ({"total_dtype": "int32"}, "64 bits"),
        ],
    )
    def test_rows_that_would_hide_damage_are_refused(
        self, change: dict[str, Any], why: str
    ) -> None:
        with pytest.raises(ValueError, match=f"large_count: .*{why}"):
            dataclasses.replace(COUNTED, **change)


def test_every_row_is_on_the_page() -> None:
    page = (Path(__file__).parents[2] / "store" / "FORMAT.md").read_text(encoding="utf-8")
    for name, row in STATISTICS.items():
        assert row.name == name
        law = f"{row.combine} | {row.bound or ''}".rstrip()
        assert f"| `{row.name}` | {row.record_dtype} | {row.total_dtype} | {law} |" in page
    assert all(f"`{name}`" in page for name in ("combine", "bound"))

"""Sizes as people write them."""

import pytest

from vxdist.errors import UserError
from vxdist.estimate.units import parse_bytes, show_bytes, show_operations, show_time


@pytest.mark.parametrize(
    ("text", "expected"),
    [("80GB", 80 * 10**9), ("80GiB", 80 * 2**30), ("1.5 tb", 1.5 * 10**12), (" 512mib ", 2**29)],
)
def test_sizes_with_a_unit_are_read(text: str, expected: float) -> None:
    assert parse_bytes(text, "--gpu-memory") == expected


@pytest.mark.parametrize("text", ["80", "GB", "-3GB", "0GB", "80 bytes", "8.0.0GB", "nanGB", ""])
def test_others_are_refused_on_one_line_that_names_the_option(text: str) -> None:
    with pytest.raises(UserError, match=r"^--gpu-memory: found .* expected a size such as 80GB"):
        parse_bytes(text, "--gpu-memory")


def test_numbers_are_shown_with_three_digits_or_so() -> None:
    assert [show_bytes(n) for n in (141_107_412_992, 8_819_213_312, 900)] == [
        "141 GB",
        "8.82 GB",
        "1 kB",
    ]
    assert show_operations(6.25e18) == "6.25 EFLOP"
    assert [show_time(n) for n in (57.8, 126, 5868)] == ["57.8 s", "2.10 min", "1.63 h"]

"""A group whose start is killed, twice, by two runs: a third reads the store and starts it."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from vxdist.asking.outcomes.choice import Choice
from vxstore.attribution import Labels, create_attribution
from vxstore.check.store import check
from vxstore.evaluation import ConditionLabels, DilemmaLabels, create_evaluation
from vxstore.identity import begun_alike
from vxstore.io import door
from vxstore.io.lock import hold

LANGUAGES = ("en", "zh")


class KilledError(Exception):
    """The process ends here."""


def start_evaluation(path: str) -> None:
    create_evaluation(
        path,
        "choice",
        conditions=[ConditionLabels(name="intact", kind="intact", mask="", draw=-1)],
        dilemmas=[DilemmaLabels(id=f"d-{g}", value="calm", language=g) for g in LANGUAGES],
        languages=LANGUAGES,
        measures=Choice.arrays,
        labels=Choice.labels,
        masked_CLNG=np.zeros((1, 4, 6, 2), dtype=bool),
        attrs={"settings": {"name": "choice", "scores": "vape", "controls": 0}},
    )


def start_attribution(path: str) -> None:
    number = Choice.arrays["log_odds"]
    create_attribution(
        path,
        "choice-odd",
        labels=Labels(
            dilemmas=["d-en", "d-zh"],
            dilemma_values=["calm", "calm"],
            dilemma_languages=LANGUAGES,
            values=["calm"],
            languages=LANGUAGES,
            further=Choice.labels,
        ),
        shape_LN=(4, 6),
        measured=("log_odds", replace(number, dims=number.dims[1:])),
        attrs={"settings": {"name": "choice-odd"}},
    )


@pytest.fixture
def writes(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Ends whoever writes as many files as its attribute `left` says."""

    class Writes:
        left = 10**6

    real = door.write

    def write(*args: Any, **kwargs: Any) -> None:
        Writes.left -= 1
        if Writes.left < 0:
            raise KilledError
        real(*args, **kwargs)

    monkeypatch.setattr(door, "write", write)
    return Writes


def begin(path: str, start: Callable[[str], None], writes: Any, left: int) -> bool:
    """Start a group in a run of its own that is killed after so many writes; whether it was."""
    with hold(path):
        writes.left = left
        try:
            start(path)
        except KilledError:
            return True
        finally:
            writes.left = 10**6
    return False


@pytest.mark.parametrize(
    ("group", "start"),
    [("evaluation/choice", start_evaluation), ("attribution/choice-odd", start_attribution)],
)
def test_killed_twice(
    group: str, start: Callable[[str], None], make_store: Any, writes: Any, soak: int
) -> None:
    path = make_store(values=("calm", "zeal"), languages=LANGUAGES, record=8)
    first = 1
    while begin(path, start, writes, first):
        assert begin(path, start, writes, max(1, first // 2))
        assert not begun_alike(path, group, {}, "NAME")
        assert not check(path).findings
        first += 1 if soak > 1 else 7
    assert first > 15
    with hold(path), pytest.raises(ValueError, match="was begun already"):
        start(path)

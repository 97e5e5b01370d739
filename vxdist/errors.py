"""Errors and exit codes, grouped by what the user can do about them."""

import difflib
from collections.abc import Iterable

from vxstore.errors import UserError

__all__ = ["DONE", "STOPPED", "USER_ERROR", "Stopped", "UserError", "find_near"]

NEAR = 0.7
"""Smallest similarity, as difflib measures it, of a name to the one that may be meant."""

DONE, USER_ERROR, STOPPED = 0, 2, 3
"""Exit codes: 0 done; 2 an error that the user can fix; 3 stopped by a signal or a peer."""


class Stopped(Exception):
    """The run was stopped by a signal; the same command resumes it (exit code 3)."""


def find_near(name: str, known: Iterable[str]) -> str | None:
    """The known name that is probably meant; None if none is close.

    Of dotted keys, the last words must be close, whatever the sections are.
    """
    last: dict[str, list[str]] = {}
    for key in sorted(known):
        last.setdefault(key.rpartition(".")[2], []).append(key)
    words = difflib.get_close_matches(name.rpartition(".")[2], last, n=3, cutoff=NEAR)
    keys = [key for word in words for key in last[word]]
    return next(iter(difflib.get_close_matches(name, keys, n=1, cutoff=0)), None)

"""Errors grouped by what the caller does about them."""

from vxstore.errors import UserError

__all__ = ["DONE", "STOPPED", "USER_ERROR", "Stopped", "UserError"]

DONE, USER_ERROR, STOPPED = 0, 2, 3
"""Exit codes: done, the user can mend it, stopped by a signal (or a peer): run it again."""


class Stopped(Exception):
    """A signal asked the run to stop; the same command goes on where it stopped (exit code 3)."""

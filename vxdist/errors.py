"""Errors and exit codes, grouped by what the user can do about them."""

from vxstore.errors import UserError

__all__ = ["DONE", "STOPPED", "USER_ERROR", "Stopped", "UserError"]

DONE, USER_ERROR, STOPPED = 0, 2, 3
"""Exit codes: 0 done; 2 an error that the user can fix; 3 stopped by a signal or a peer."""


class Stopped(Exception):
    """The run was stopped by a signal; the same command resumes it (exit code 3)."""

"""Errors grouped by what the caller does about them."""

from vxstore.errors import UserError

__all__ = ["Stopped", "UserError"]


class Stopped(Exception):
    """A signal asked the run to stop; the same command goes on where it stopped (exit code 3)."""

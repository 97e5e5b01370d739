"""Errors that a caller can act on."""


class UserError(Exception):
    """Something the user can mend: the message is one line and says what to do (exit code 2)."""


class StoreError(UserError):
    """A store that is missing, unfinished, damaged, or not what was asked for."""

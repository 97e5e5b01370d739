"""Errors that a caller can act on."""


class UserError(Exception):
    """Something the user can fix: the message is one line and says what to do (exit code 2)."""


class StoreError(UserError):
    """A store that is missing, unfinished, damaged, or not what was asked for."""


class LockReleased(StoreError):
    """The run that this process writes for has released its store."""


DAMAGE = (
    AssertionError,
    AttributeError,
    LookupError,
    OSError,
    OverflowError,
    RuntimeError,
    TypeError,
    ValueError,
)
"""What NumPy, Zarr and xarray raise where the content of a store is not what it declares."""

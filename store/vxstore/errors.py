"""Errors that a caller can act on."""

import errno

NOT_WRITABLE = (
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EFBIG,
    errno.EROFS,
    errno.EACCES,
    errno.EPERM,
)
"""Errors of a disk that is full, or not to be written."""


class UserError(Exception):
    """Something the user can fix: the message is one line and says what to do (exit code 2)."""


class StoreError(UserError):
    """A store that is missing, unfinished, damaged, or not what was asked for."""


class LockReleased(StoreError):
    """The run that this process writes for has released its store."""


def describe_disk(error: OSError) -> str | None:
    """In one line, a disk that is full or cannot be written; None if it is another error."""
    if error.errno not in NOT_WRITABLE:
        return None
    return (
        f"{error.filename or 'the disk'}: {error.strerror}; what is recorded is kept: free some "
        "space, or make it writable, and run the same command again"
    )


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

"""How much a question to a store may hold in memory: a small file can declare, lawfully, a giant.

FORMAT.md, "Chunks and codecs", says so to others.
"""

from vxstore.errors import StoreError

MOST_BYTES = 1 << 30
"""What a question holds of a store at once, about."""
MOST_ROWS = 10_000_000
"""Neurons, of all values and languages, that are listed in one table or mask file."""


def require_memory(path: str, what: str, size: int, instead: str) -> None:
    """Raise StoreError, in one line, if a question would hold `size` bytes.

    `what` is what takes them, `instead` what to ask.
    """
    if size > MOST_BYTES:
        raise StoreError(
            f"{path}: {what} takes {size / (1 << 30):,.1f} GiB of memory, more than the "
            f"{MOST_BYTES >> 30} GiB that a question may; {instead}"
        )


def require_rows(path: str, rows: int) -> None:
    """Raise StoreError, in one line, if that many selected neurons are to be listed."""
    if rows > MOST_ROWS:
        raise StoreError(
            f"{path}: more than {MOST_ROWS:,} neurons are selected, which is no selection; ask for "
            "fewer values or languages, or select again with a smaller top fraction"
        )

"""Digests of chunks: which bytes a group's arrays hold, so that no others can be in their place.

A chunk's digest is the SHA-256 of its file, taken from what is handed to the storage and not read
back. A group's attribute `data_digests` has one of each of its arrays, and the array `seal` one of
each chunk of an entry that was sealed.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

DATA, SEALS, REVISION = "data_digests", "seals_digest", "revision"
VOUCHING = (DATA, SEALS, REVISION)


def digest(data: Any) -> str:
    """SHA-256 of a buffer, in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def digest_array(chunks: Mapping[str, str]) -> str:
    """The digest of an array, from those of its chunks by key (such as c/0/1)."""
    return digest("".join(f"{key} {of}\n" for key, of in sorted(chunks.items())).encode())


def digest_arrays(chunks: Mapping[str, str], group: str) -> dict[str, str]:
    """The digest of each array of a group, by name, from those of chunks by key in the store."""
    prefix = f"{group}/" if group else ""
    arrays: dict[str, dict[str, str]] = {}
    for name, of in chunks.items():
        array, _, key = name.removeprefix(prefix).partition("/")
        if name.startswith(prefix) and key.startswith("c/"):
            arrays.setdefault(array, {})[key] = of
    return {array: digest_array(found) for array, found in sorted(arrays.items())}


def write_seal(dim: str, index: int, chunks: Mapping[str, str]) -> str:
    """What an entry of `seal` says: which entry it is, and the digest of its chunk by array."""
    return json.dumps({dim: index, **chunks}, separators=(",", ":"))


def read_seal(text: str, dim: str, index: int) -> dict[str, str] | None:
    """The digest of an entry's chunk by array; None if that is not what the text says."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict) or found.pop(dim, None) != index:
        return None
    return found if all(isinstance(of, str) for of in found.values()) else None


def digest_seals(seals: Iterable[str]) -> str:
    """The digest of all entries of `seal`, in order."""
    return digest("".join(f"{seal}\n" for seal in seals).encode())

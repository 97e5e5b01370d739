"""The digest of a model's files: of every byte that can decide a number.

`ModelSource.fingerprint` samples the weights, which tells any two models apart, but not a model
from the same with one matrix edited.
"""

import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from vxdist.errors import UserError
from vxdist.model.cache import cache_folder, hash_file
from vxdist.model.source import CODE_FILES, WEIGHT_FILES, ModelSource
from vxdist.ranks import is_first_rank
from vxstore.read import Store

AT_ONCE = 8
"""Files read at once."""
LARGE = 4e9
"""Bytes from which reading them is worth a line."""


def digest_model(source: ModelSource, say: Callable[[str], None] = lambda _: None) -> str:
    """SHA-256 of config.json, all weights and, if it runs, the model's own code.

    A file is read again only when its size or time of change differs; `say` is called with a line
    before much is read.
    """
    kinds = ("config.json", *WEIGHT_FILES, *(CODE_FILES if source.own_code else ()))
    files = sorted({file for kind in kinds for file in source.directory.glob(kind)})
    unread = sum(file.stat().st_size for file in files if not _kept_at(file).is_file())
    if unread > LARGE and is_first_rank():
        say(f"reading {unread / 1e9:.0f} GB of weights to identify the model, once")
    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="digest") as readers:
        digests = list(readers.map(_digest, files))
    sha = hashlib.sha256(b"vxdist model 1\n")
    for file, digest in zip(files, digests, strict=True):
        sha.update(f"{file.name} {digest}\n".encode())
    return sha.hexdigest()


def check_same_model(
    store: Store, source: ModelSource, say: Callable[[str], None] = lambda _: None
) -> None:
    """Raise UserError unless `source` is the model that the store was recorded with.

    `say` is that of `digest_model`.
    """
    other = source.fingerprint != store.attrs["model_fingerprint"]
    if not other and "model_digest" in store.attrs:  # earlier versions kept none
        other = digest_model(source, say) != store.attrs["model_digest"]
    if other:
        raise UserError(
            f"{store.path} was recorded with model {store.attrs['model']}, and model.path is "
            f"{source.name}; give the same model"
        )


def _digest(file: Path) -> str:
    """SHA-256 of a file; processes that start together read it only once."""
    import filelock

    kept = _kept_at(file)
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(f"{kept}.lock"):
            if not kept.is_file():
                digest = hash_file(file)
                partial = kept.with_suffix(".partial")
                partial.write_text(digest, encoding="ascii")
                partial.rename(kept)
            return kept.read_text(encoding="ascii")
    except (OSError, NotImplementedError):
        return hash_file(file)  # there is no cache folder here


def _kept_at(file: Path) -> Path:
    """Where the digest of a file is kept for as long as the file is not changed."""
    about = file.stat()
    stamp = f"{file.resolve()} {about.st_size} {about.st_mtime_ns} {about.st_ino}"
    return cache_folder() / "digests" / hashlib.sha256(stamp.encode()).hexdigest()

"""Tokenising once: what the tokenizer made of a corpus is kept in the user's cache.

All ranks of a machine, and later runs, map the same files into memory.
"""

import contextlib
import hashlib
import json
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vxdist.config import Config
from vxdist.corpus import ActivationItem, Corpus
from vxdist.model.cache import cache_folder, is_intact, make_folder
from vxdist.model.load import ModelShape, check_embedded, load_tokenizer
from vxdist.model.source import CONFIG_FILES, ModelSource
from vxdist.plan import TokenizedStory, tokenize_stories
from vxdist.progress import WorkProgress
from vxdist.ranks import is_first_rank

ARRAYS = ("token_ids", "counted", "ends")


def read_stories(
    config: Config, corpus: Corpus, source: ModelSource, shape: ModelShape
) -> Sequence[TokenizedStory]:
    """The activation split as tokens; tokenised by the first process that asks, once.

    Raises UserError as `tokenize_stories` does, and if the model has no embedding for a token.
    """
    stories = _find_stories(config, corpus, source, shape)
    check_embedded(((f"story {s.id}", s.token_ids_T) for s in stories), source, shape)
    return stories


def _find_stories(
    config: Config, corpus: Corpus, source: ModelSource, shape: ModelShape
) -> Sequence[TokenizedStory]:
    import filelock

    key = _key(config, corpus, source, shape)
    folder = cache_folder() / "tokens" / key
    with contextlib.ExitStack() as stack:
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            stack.enter_context(filelock.FileLock(f"{folder}.lock"))
            if is_intact(folder):
                return _load(folder, corpus.activation)
        except (OSError, NotImplementedError):
            return _tokenize(config, corpus, source, shape)  # there is no cache folder here
        stories = _tokenize(config, corpus, source, shape)
        with contextlib.suppress(OSError):
            _save(folder, stories)
        return stories


def _key(config: Config, corpus: Corpus, source: ModelSource, shape: ModelShape) -> str:
    """SHA-256 of all that decides the tokens."""
    sha = hashlib.sha256(b"vxdist tokens 2\n")
    about = [
        corpus.activation_digest(),
        config.locate.span,
        shape.max_length,
        [version(name) for name in ("vxdist", "transformers", "tokenizers")],
    ]
    sha.update(json.dumps(about).encode())
    files = {file for kind in CONFIG_FILES for file in source.directory.glob(kind)}
    for file in sorted(files):
        sha.update(f"{file.name} {file.stat().st_size}\n".encode())
        sha.update(file.read_bytes())
    return sha.hexdigest()


def _tokenize(
    config: Config, corpus: Corpus, source: ModelSource, shape: ModelShape
) -> Sequence[TokenizedStory]:
    progress = WorkProgress(
        "tokenise",
        len(corpus.activation),
        "stories",
        shown=is_first_rank(),
        seconds=config.trainer.progress_seconds,
    )
    tokenizer = load_tokenizer(source)
    progress.start()
    try:
        return tokenize_stories(
            corpus.activation,
            tokenizer,
            span=config.locate.span,
            advance=progress.advance,
        )
    finally:
        progress.stop()


def _save(folder: Path, stories: Sequence[TokenizedStory]) -> None:
    arrays: dict[str, NDArray[Any]] = {
        "token_ids": np.concatenate([story.token_ids_T for story in stories]),
        "counted": np.concatenate([story.counted_T for story in stories]),
        "ends": np.cumsum([len(story.token_ids_T) for story in stories]),
    }

    def write(partial: Path) -> None:
        for name in ARRAYS:
            np.save(partial / f"{name}.npy", arrays[name])

    make_folder(folder, write)


def _load(folder: Path, items: Sequence[ActivationItem]) -> Sequence[TokenizedStory]:
    token_ids, counted, ends = (np.load(folder / f"{name}.npy", mmap_mode="c") for name in ARRAYS)
    starts = [0, *ends[:-1].tolist()]
    return tuple(
        TokenizedStory(
            id=item.id,
            value=item.value,
            language=item.language,
            stance=item.stance,
            pair=item.pair,
            setting=item.setting,
            token_ids_T=token_ids[start:end],
            counted_T=counted[start:end],
        )
        for item, start, end in zip(items, starts, ends.tolist(), strict=True)
    )

"""The editions of the bundled seed: which of them a store was made with, told by its digests.

`builtin:cvoice-seed` is always the newest edition, and earlier ones keep a name of their own. A
store remembers the name as it was given, so that only its digests say which edition it holds.
"""

import dataclasses
import importlib.resources
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from vxdist.config import CorpusConfig
from vxdist.corpus.items import Corpus
from vxdist.errors import UserError
from vxstore.text import shorten

NEWEST = "builtin:cvoice-seed"
BUILTIN: Mapping[str, str] = {NEWEST: "seed", "builtin:cvoice-seed-1": "seed_1"}
"""Path of each edition, to its folder beside this file."""
NAMES: Mapping[str, str] = {
    NEWEST: "the newest edition",
    "builtin:cvoice-seed-1": "the first edition",
}
SELECTION = ("values", "languages", "stories_per_group", "dilemmas_per_value")
Digest = Literal["corpus_digest", "evaluation_digest"]
"""Attribute of a store, or of an evaluation, that names the texts of a split."""


def builtin_folder(path: str) -> Path:
    """The folder of an edition. Raises UserError if there is no such edition."""
    if path not in BUILTIN:
        raise UserError(f"corpus.path: found {path}, expected {' or '.join(BUILTIN)}")
    return Path(str(importlib.resources.files("vxdist.corpus"))) / BUILTIN[path]


def refuse_other_edition(
    what: str,
    config: CorpusConfig,
    key: Digest,
    kept: Mapping[str, Any],
    here: Mapping[str, Any],
) -> None:
    """Raise UserError if `what`, with attributes `kept`, was made with another edition.

    `here` are the attributes that this run would write. Does nothing if `config` does not name an
    edition of the seed, or if `what` was made with texts of none.
    """
    if config.path not in BUILTIN or kept.get(key) in (None, here[key]):
        return
    made_with = _find(config, kept, key)
    if made_with is None:
        return
    differ = [
        f"corpus.{name} is {shorten(getattr(made_with, name))} there, "
        f"{shorten(getattr(config, name))} here"
        for name in SELECTION
        if getattr(made_with, name) != getattr(config, name)
    ]
    also = f"; {'; '.join(differ)}: restore that" if differ else ""
    if made_with.path == config.path:
        raise UserError(f"{what} was made with other texts of {config.path}{also}")
    raise UserError(
        f"{what} was made with {NAMES[made_with.path]} of the bundled seed, and {config.path} is "
        f"{NAMES[config.path]}; give --corpus.path {made_with.path}{also}"
    )


def describe_other_edition(
    what: str, config: CorpusConfig, key: Digest, kept: Mapping[str, Any]
) -> str | None:
    """That `what` is of another edition than the dilemmas asked about; None if it is not."""
    found = find_edition(config, kept, key) if config.path in BUILTIN else None
    if found in (None, config.path):
        return None
    return (
        f"{what} was recorded with {NAMES[found]} of the bundled seed, and {config.path} is "
        f"{NAMES[config.path]}; --corpus.path {found} gives the dilemmas that belong to it"
    )


def find_edition(config: CorpusConfig, kept: Mapping[str, Any], key: Digest) -> str | None:
    """The edition whose texts have the digest `kept[key]`, or None: the one of `config` if more do.

    Texts are selected as `config` says, or else as the settings in `kept` do.
    """
    found = _find(config, kept, key)
    return None if found is None else found.path


def _find(config: CorpusConfig, kept: Mapping[str, Any], key: Digest) -> CorpusConfig | None:
    """Path and selection of the texts that have the digest `kept[key]`."""
    if kept.get(key) is None:
        return None
    editions = [config.path, *(path for path in BUILTIN if path != config.path)]
    candidates = (
        dataclasses.replace(selection, path=path)
        for path in editions
        if path in BUILTIN
        for selection in _selections(config, kept)
    )
    return next((of for of in candidates if _digest(of, key) == kept[key]), None)


def find_recorded(path: str, kept: Mapping[str, Any], key: Digest) -> Path:
    """The folder of the edition that attributes `kept` were made with; that of `path` if unknown.

    Raises UserError if `path` is not an edition of the seed.
    """
    folder = builtin_folder(path)
    edition = find_edition(CorpusConfig(path=path), kept, key)
    return folder if edition is None else builtin_folder(edition)


def _selections(config: CorpusConfig, kept: Mapping[str, Any]) -> Iterator[CorpusConfig]:
    yield config
    settings = kept.get("config")
    saved = settings.get("corpus") if isinstance(settings, Mapping) else None
    if isinstance(saved, Mapping):
        known = {field.name for field in dataclasses.fields(CorpusConfig)}
        yield CorpusConfig(**{name: of for name, of in saved.items() if name in known})


def _digest(config: CorpusConfig, key: Digest) -> str | None:
    """Digest of a split, or None if the edition does not have the values or languages selected."""
    from vxdist.corpus.read import load_corpus

    try:
        corpus: Corpus = load_corpus(config)
    except UserError:
        return None
    return corpus.activation_digest() if key == "corpus_digest" else corpus.evaluation_digest()

"""Which neurons of a store are taken out of the model, and what the store says of them.

L: layer, N: neuron, G: language (here one), V: value (here one).
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vxdist.config import Config
from vxdist.errors import UserError
from vxdist.hooks.interventions import Affine
from vxdist.hooks.masks import check_needs, find_score, make_intervention
from vxdist.hooks.recorded import read_recorded
from vxstore.claims import LISTED, find_levels
from vxstore.declared import SELECTED
from vxstore.errors import StoreError
from vxstore.mask_file import read_mask
from vxstore.query.lookup import Score, open_root, open_score, reading, require_known
from vxstore.read import Store

Bools = NDArray[np.bool_]
UNCLAIMED = "none"
"""The level of a neuron of a mask file that the score neither selects nor claims anything of."""


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """The neurons to take out, and what is known of them."""

    value: str
    language: str
    selected_LN: Bools
    affine: Affine
    score: str | None
    """Name of the score that lists them, or that says which claims they have."""
    masks: str | None
    """SHA-256 of the mask file that lists them; None if the score does."""
    levels: Mapping[str, int]
    """How many of them have each claim as their highest; empty if no test was made of them."""
    fdr: float
    """False discovery rate of the claims; 0 without tests."""

    @property
    def neurons(self) -> dict[int, NDArray[np.intp]]:
        """The neurons by layer."""
        by_layer = {layer: np.flatnonzero(row) for layer, row in enumerate(self.selected_LN)}
        return {layer: number_N for layer, number_N in by_layer.items() if number_N.size}

    @property
    def count(self) -> int:
        """How many neurons there are."""
        return int(self.selected_LN.sum())


def choose(config: Config, store: Store, value: str, language: str) -> Chosen:
    """The neurons of a value in a language: those of a mask file if one is given, or a score's.

    Raises UserError if there is no such value, language, score or mask, it names no neuron, or the
    store does not record what the intervention needs.
    """
    root, values, languages = open_root(store)
    intervention = make_intervention(config.evaluate)
    check_needs(store, root, intervention)
    require_known(store, "value", value, values)
    score = _find_score(config, store)
    known = languages if score is None else score.languages
    require_known(store, "language", language, known)
    if intervention.needs and language not in languages:
        raise UserError(
            f"--language {language}: {config.evaluate.intervention} needs what was recorded in one "
            f"language; give one of {', '.join(languages)}"
        )
    selected_LN = _select(config, store, score, value, language)
    if not selected_LN.any():
        named = config.evaluate.masks or f"{store.path}/scores/{score.name if score else ''}"
        raise UserError(
            f"{named} has no neuron of {value} in {language}, so there is nothing to take away; "
            "choose another value, language or score"
        )
    claims = None if score is None else score.claims
    return Chosen(
        value=value,
        language=language,
        selected_LN=selected_LN,
        affine=intervention.affine(read_recorded(store), value, language),
        score=None if score is None else score.name,
        masks=_hash(config.evaluate.masks),
        levels={} if score is None else _count_levels(score, selected_LN, value, language),
        fdr=claims.fdr if claims else 0.0,
    )


def _find_score(config: Config, store: Store) -> Score | None:
    """The score meant; None if a mask file is given and it is not clear which score is."""
    try:
        return open_score(store, find_score(config, store))
    except StoreError:
        if config.evaluate.masks is None or config.evaluate.scores is not None:
            raise
        return None


def _select(config: Config, store: Store, score: Score | None, value: str, language: str) -> Bools:
    if config.evaluate.masks is not None:
        root = store.root()
        shape_LN = (root.sizes["layer"], root.sizes["neuron"])
        return read_mask(
            config.evaluate.masks, value=value, language=language, shape_LN=shape_LN, store=store
        )
    assert score is not None
    with reading(store, SELECTED):
        selected = score.data[SELECTED].sel(value=value, language=language)
        return np.asarray(selected.transpose("layer", "neuron").values)


def _count_levels(score: Score, selected_LN: Bools, value: str, language: str) -> dict[str, int]:
    """How many of the neurons have each claim as their highest, from the lowest."""
    claims = score.claims
    if not claims.claims or language not in score.languages:
        return {}
    with reading(score.store, f"scores/{score.name}"):
        block = score.data[[*claims.arrays, SELECTED]].sel(value=[value], language=[language])
        level_LN = find_levels(block.load(), claims)[0, 0]
    level_N = level_LN[selected_LN]
    counts = {
        claims.title(level): int((level_N == level).sum())
        for level in (LISTED, *(claim.level for claim in claims.claims))
    }
    counts[UNCLAIMED] = int((level_N < LISTED).sum())
    return {title: count for title, count in counts.items() if count}


def _hash(file: str | None) -> str | None:
    return None if file is None else hashlib.sha256(Path(file).read_bytes()).hexdigest()


def describe_settings(config: Config) -> dict[str, Any]:
    """The intervention's name and settings, as JSON."""
    import dataclasses

    settings = make_intervention(config.evaluate).settings
    found = {} if settings is None else dataclasses.asdict(settings)
    return {"name": config.evaluate.intervention, "settings": found}

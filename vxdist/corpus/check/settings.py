"""Settings of `vxdist corpus check`."""

from dataclasses import dataclass, field


@dataclass(kw_only=True)
class CheckConfig:
    """What `vxdist corpus check` finds worth telling."""

    similarity: float = 0.5
    """Share of runs of words in common that makes two texts near-duplicates."""
    run: int = 3
    """Words of a run; letters of scripts without spaces."""
    hashes: int = 192
    """Of a text's signature."""
    bands: int = 48
    """That it is cut into; texts that agree in one are compared: 95 of 100 that have half of their
    runs in common, and 999 of 1,000 with 60 %."""
    language_letters: dict[str, int] = field(
        default_factory=lambda: {"zh": 12, "ja": 12, "ko": 12, "other": 40}
    )
    """Fewest letters of a text whose language is looked at."""
    language_sureness: float = 0.9
    """With which another language must be found."""
    length_ratio: float = 1.25
    """How many times as long as the shortest mean the longest may be."""
    cue: float = 0.1
    """By how much a cue may tell more, or less, than half."""
    confidence: float = 0.95
    """Of the intervals."""
    folds: int = 5
    """Of the cross-validation of words."""
    dilemmas: int = 12
    """Fewest dilemmas of a value in each split."""
    settings: int = 8
    """Fewest settings of a value."""
    rivals: int = 6
    """Fewest rival motives of a value."""
    seed: int = 0
    """Of the signatures, and of which option a bag of words is shown first."""

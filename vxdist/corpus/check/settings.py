"""Settings of `vxdist corpus check`."""

from dataclasses import dataclass, field


@dataclass(kw_only=True)
class CheckConfig:
    """Thresholds for reporting a finding."""

    similarity: float = 0.5
    """Minimum Jaccard similarity of word shingles for two texts to be near-duplicates."""
    shingle_words: int = 3
    """Number of words per shingle (characters in scripts without spaces)."""
    hashes: int = 192
    """Number of MinHash permutations per text."""
    bands: int = 48
    """Number of LSH bands that a signature is cut into. Texts that agree in one band are compared:
    95% of pairs with a similarity of 0.5, and 99.9% of those with 0.6."""
    language_letters: dict[str, int] = field(
        default_factory=lambda: {"zh": 12, "ja": 12, "ko": 12, "other": 40}
    )
    """Minimum number of characters, by language, for the language of a text to be checked."""
    language_confidence: float = 0.9
    """Minimum confidence before a text is reported as another language."""
    length_ratio: float = 1.25
    """Maximum ratio of the longest mean length to the shortest."""
    length_spread: float = 0.05
    """Maximum fraction by which the longest mean length of a value exceeds the shortest."""
    level: float = 0.05
    """Level of the tests of lengths: each warns of that fraction of corpora without a fault."""
    stance_pairs: int = 6
    """Minimum number of dilemmas per value told in both stances, in each language."""
    shuffles: int = 1000
    """Number of shuffles of settings over dilemmas."""
    drift_dilemmas: int = 2000
    """Maximum number of dilemmas per language whose halves the words cue tells apart: a sample."""
    cue: float = 0.1
    """Maximum difference between a cue's accuracy and 0.5."""
    confidence: float = 0.95
    """Confidence level of the intervals."""
    folds: int = 5
    """Number of cross-validation folds for the words cue."""
    dilemmas: int = 12
    """Minimum number of dilemmas per value in each split."""
    settings: int = 8
    """Minimum number of settings per value."""
    rivals: int = 6
    """Minimum number of rival motives per value."""
    seed: int = 0
    """Seed of the MinHash permutations, of the order of options in the words cue, of the shuffles
    and of the sample."""

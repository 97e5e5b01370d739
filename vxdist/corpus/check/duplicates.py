"""Texts that occur twice in a corpus, or nearly so.

MinHash (Broder 1997) over word shingles, with LSH bands (Leskovec, Rajaraman and Ullman, Mining of
Massive Datasets, section 3.4). D: text, H: hash, B: band.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
from numpy.typing import NDArray
from rensa import RMinHash

from vxdist.corpus.check.findings import Checked, Finding, Track, untracked
from vxdist.corpus.check.settings import CheckConfig
from vxdist.corpus.check.text import shingle, split_words
from vxdist.corpus.items import ActivationItem, EvaluationItem, NeutralItem

NEUTRAL = "neutral"
"""Where a passage is that is in neither split."""
BLOCK = 4096
"""Number of texts shingled at a time, which bounds memory."""


@dataclass(frozen=True, kw_only=True)
class Text:
    """A text to compare: a dilemma, a rationale or a neutral passage, with the first item that
    contains it."""

    id: str
    pair: str
    language: str
    split: str
    field: str
    text: str


def check_duplicates(
    activation: Sequence[ActivationItem],
    evaluation: Sequence[EvaluationItem],
    neutral: Sequence[NeutralItem],
    config: CheckConfig,
    track: Track = untracked,
) -> Checked:
    """Find similar texts, within a split and across the two, and among neutral passages.

    The stances of a pair share a dilemma, which counts once. A dilemma that is in both splits
    word for word is an error, since neurons would be tested on the data they were found with. So
    are two identical options.
    """
    texts = [*_texts(activation, evaluation), *map(_passage, neutral)]
    findings = [*_same_options(evaluation), *_same_choices(activation)]
    copied = {other.id: (one, other) for one, other in _find_copied(texts)}
    findings += [_describe(one, other, 1.0) for one, other in copied.values()]
    for one, other, similarity in find_similar(texts, config, track):
        if one.split == other.split or other.id not in copied:
            findings.append(_describe(one, other, similarity))
    return Checked(findings=findings)


def _describe(one: Text, other: Text, similarity: float) -> Finding:
    leaks, same = one.split != other.split, _words(one) == _words(other)
    where = f"in {one.split} and {other.split}" if leaks else f"twice in {one.split}"
    where = "in both splits" if {one.split, other.split} == {"activation", "evaluation"} else where
    degree = "the same" if same else f"nearly the same ({similarity:.0%} of their shingles)"
    return Finding(
        level="error" if leaks and same else "warning",
        kind="leakage" if leaks else "duplicate",
        message=f"{degree} {one.field} {where}: {one.id} and {other.id}",
        weight=similarity,
        items=(one.id, other.id),
    )


def _texts(
    activation: Sequence[ActivationItem], evaluation: Sequence[EvaluationItem]
) -> Iterator[Text]:
    shared: set[tuple[str, str, str]] = set()
    for item in activation:
        labels = {"id": item.id, "pair": item.pair, "language": item.language,
                  "split": "activation"}  # fmt: skip
        if (key := (item.pair, item.language, item.dilemma)) not in shared:
            shared.add(key)
            yield Text(**labels, field="dilemma", text=item.dilemma)
        if item.rationale:
            yield Text(**labels, field="rationale", text=item.rationale)
    for dilemma in evaluation:
        yield Text(
            id=dilemma.id, pair=dilemma.pair, language=dilemma.language, split="evaluation",
            field="dilemma", text=dilemma.dilemma,
        )  # fmt: skip


def _passage(item: NeutralItem) -> Text:
    return Text(
        id=item.id, pair=item.pair, language=item.language, split=NEUTRAL, field="text",
        text=item.text,
    )  # fmt: skip


def _words(text: Text) -> tuple[str, ...]:
    return tuple(split_words(text.text))


def _find_copied(texts: Sequence[Text]) -> Iterator[tuple[Text, Text]]:
    """(story's dilemma, evaluation dilemma) for those that are the same word for word."""
    stories = {
        (text.language, hash(_words(text))): text
        for text in texts
        if (text.split, text.field) == ("activation", "dilemma")
    }
    for text in texts:
        if text.split == "evaluation":
            words = _words(text)
            story = stories.get((text.language, hash(words)))
            if story is not None and _words(story) == words:
                yield story, text


def _same_options(evaluation: Sequence[EvaluationItem]) -> Iterator[Finding]:
    for item in evaluation:
        if split_words(item.aligned) == split_words(item.violating):
            yield Finding(
                level="error", kind="duplicate", message=f"{item.id}: both options are the same",
                weight=2.0, items=(item.id,),
            )  # fmt: skip


def _same_choices(activation: Sequence[ActivationItem]) -> Iterator[Finding]:
    first: dict[tuple[str, str], ActivationItem] = {}
    for item in activation:
        other = first.setdefault((item.pair, item.language), item)
        if other.stance != item.stance and item.choice and item.choice == other.choice:
            message = f"{item.pair}: both stances make the same choice in {item.language}"
            yield Finding(level="warning", kind="duplicate", message=message, weight=1.0,
                          items=(other.id, item.id))  # fmt: skip


def find_similar(
    texts: Sequence[Text], config: CheckConfig, track: Track = untracked
) -> Iterator[tuple[Text, Text, float]]:
    """(text, a similar later text, similarity), at most once per later text.

    Only texts of the same language and field are compared. Of many similar texts, each is paired
    with the earliest, so the output grows linearly with the number of texts.
    """
    digest_DH = digest((text.text for text in track(texts, "comparing", "texts")), config)
    for group in _groups(texts):
        for later, earlier in sorted(_link(digest_DH[group], config).items()):
            one, other = texts[group[earlier]], texts[group[later]]
            similarity = jaccard(one.text, other.text, config.shingle_words)
            if similarity >= config.similarity:
                yield one, other, similarity


def _groups(texts: Sequence[Text]) -> Iterable[list[int]]:
    """Numbers of the texts that are compared; neutral passages are with all of their language."""
    groups: dict[tuple[str, str], list[int]] = {}
    for number, text in enumerate(texts):
        groups.setdefault((text.language, text.field), []).append(number)
    for (language, field), passages in groups.items():
        if field == "text":
            for key, group in groups.items():
                if key[0] == language and key[1] != field:
                    group.extend(passages)
    return groups.values()


def digest(texts: Iterable[str], config: CheckConfig) -> NDArray[np.uint32]:
    """MinHash signatures of texts, (D, H)."""
    blocks, rest = [np.zeros((0, config.hashes), dtype=np.uint32)], iter(texts)
    while shingles := [shingle(text, config.shingle_words) for text in islice(rest, BLOCK)]:
        matrix = RMinHash.digest_matrix_from_token_sets(shingles, config.hashes, config.seed)
        blocks.append(np.asarray(matrix.to_rows(), dtype=np.uint32))
    return np.concatenate(blocks)


def _link(digest_DH: NDArray[np.uint32], config: CheckConfig) -> dict[int, int]:
    """{text: the most similar earlier text}, by signature, down to slightly below the threshold."""
    best: dict[int, tuple[float, int]] = {}
    width = config.hashes // config.bands
    for band in range(config.bands):
        band_DB = np.ascontiguousarray(digest_DH[:, band * width : (band + 1) * width])
        key_D = band_DB.view(np.dtype((np.void, band_DB.dtype.itemsize * width))).ravel()
        _, first_U, which_D = np.unique(key_D, return_index=True, return_inverse=True)
        earlier_D = first_U[which_D]
        (later_C,) = np.nonzero(earlier_D != np.arange(len(earlier_D)))
        agreement_C = (digest_DH[later_C] == digest_DH[earlier_D[later_C]]).mean(axis=1)
        for later, agreement in zip(later_C.tolist(), agreement_C.tolist(), strict=True):
            if agreement >= config.similarity - 0.1:
                best[later] = max(best.get(later, (0.0, -1)), (agreement, int(earlier_D[later])))
    return {later: earlier for later, (_, earlier) in best.items()}


def jaccard(one: str, other: str, shingle_words: int) -> float:
    """Jaccard similarity of two texts: the fraction of their shingles that both contain."""
    a, b = set(shingle(one, shingle_words)), set(shingle(other, shingle_words))
    return len(a & b) / len(a | b)

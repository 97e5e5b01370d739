"""Texts that stand in a corpus twice, or nearly so.

MinHash (Broder 1997) of runs of words, in bands (Leskovec, Rajaraman and Ullman, Mining of Massive
Datasets, section 3.4). D: text, H: hash, B: band.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
from numpy.typing import NDArray
from rensa import RMinHash

from vxdist.corpus.check.findings import Checked, Finding, Watch, unwatched
from vxdist.corpus.check.settings import CheckConfig
from vxdist.corpus.check.text import shingle, split_words
from vxdist.corpus.items import ActivationItem, EvaluationItem

BLOCK = 4096
"""Texts that are taken apart at a time, which bounds memory."""


@dataclass(frozen=True, kw_only=True)
class Text:
    """A text to compare: one dilemma, or one rationale, and the first item that has it."""

    id: str
    pair: str
    language: str
    split: str
    field: str
    text: str


def check_duplicates(
    activation: Sequence[ActivationItem],
    evaluation: Sequence[EvaluationItem],
    config: CheckConfig,
    watch: Watch = unwatched,
) -> Checked:
    """Find texts that are alike, within a split and between the two.

    The stances of a pair share a dilemma, which counts once. A text that is in both splits, word
    for word, is an error: the neurons would be looked for in what they are tested on. So are
    options that do not differ.
    """
    texts = [*_texts(activation, evaluation)]
    findings = [*_same_options(evaluation), *_same_choices(activation)]
    copied = {other.id: (one, other) for one, other in _find_copied(texts)}
    findings += [_tell(one, other, 1.0) for one, other in copied.values()]
    for one, other, similarity in find_alike(texts, config, watch):
        if one.split == other.split or other.id not in copied:
            findings.append(_tell(one, other, similarity))
    return Checked(findings=findings)


def _tell(one: Text, other: Text, similarity: float) -> Finding:
    leaks, same = one.split != other.split, _words(one) == _words(other)
    where = "in both splits" if leaks else f"twice in {one.split}"
    how = "the same" if same else f"nearly the same ({similarity:.0%} of their words in a row)"
    return Finding(
        level="error" if leaks and same else "warning",
        kind="leakage" if leaks else "duplicate",
        what=f"{how} {one.field} {where}: {one.id} and {other.id}",
        weight=similarity,
        items=(one.id, other.id),
    )


def _texts(
    activation: Sequence[ActivationItem], evaluation: Sequence[EvaluationItem]
) -> Iterator[Text]:
    shared: set[tuple[str, str, str]] = set()
    for item in activation:
        about = {"id": item.id, "pair": item.pair, "language": item.language, "split": "activation"}
        if (key := (item.pair, item.language, item.dilemma)) not in shared:
            shared.add(key)
            yield Text(**about, field="dilemma", text=item.dilemma)
        if item.rationale:
            yield Text(**about, field="rationale", text=item.rationale)
    for one in evaluation:
        yield Text(
            id=one.id, pair=one.pair, language=one.language, split="evaluation",
            field="dilemma", text=one.dilemma,
        )  # fmt: skip


def _words(text: Text) -> tuple[str, ...]:
    return tuple(split_words(text.text))


def _find_copied(texts: Sequence[Text]) -> Iterator[tuple[Text, Text]]:
    """(story, dilemma) of dilemmas to evaluate that stand, word for word, among the stories."""
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
            what = f"{item.id}: both options are the same"
            yield Finding(level="error", kind="duplicate", what=what, weight=2.0, items=(item.id,))


def _same_choices(activation: Sequence[ActivationItem]) -> Iterator[Finding]:
    first: dict[tuple[str, str], ActivationItem] = {}
    for item in activation:
        other = first.setdefault((item.pair, item.language), item)
        if other.stance != item.stance and item.choice and item.choice == other.choice:
            what = f"{item.pair}: both stances make the same choice in {item.language}"
            yield Finding(level="warning", kind="duplicate", what=what, weight=1.0,
                          items=(other.id, item.id))  # fmt: skip


def find_alike(
    texts: Sequence[Text], config: CheckConfig, watch: Watch = unwatched
) -> Iterator[tuple[Text, Text, float]]:
    """(text, an earlier one like it, share of runs of words in common), for each that has one.

    Only texts of the same language and field are compared. Of many alike, each is told with the
    first, so what is told grows with the texts and not with their square.
    """
    digest_DH = digest((text.text for text in watch(texts, "comparing", "texts")), config)
    groups: dict[tuple[str, str], list[int]] = {}
    for number, text in enumerate(texts):
        groups.setdefault((text.language, text.field), []).append(number)
    for group in groups.values():
        for later, earlier in sorted(_link(digest_DH[group], config).items()):
            one, other = texts[group[earlier]], texts[group[later]]
            similarity = jaccard(one.text, other.text, config.run)
            if similarity >= config.similarity:
                yield one, other, similarity


def digest(texts: Iterable[str], config: CheckConfig) -> NDArray[np.uint32]:
    """Signatures of texts, (D, H)."""
    blocks, left = [np.zeros((0, config.hashes), dtype=np.uint32)], iter(texts)
    while runs := [shingle(text, config.run) for text in islice(left, BLOCK)]:
        matrix = RMinHash.digest_matrix_from_token_sets(runs, config.hashes, config.seed)
        blocks.append(np.asarray(matrix.to_rows(), dtype=np.uint32))
    return np.concatenate(blocks)


def _link(digest_DH: NDArray[np.uint32], config: CheckConfig) -> dict[int, int]:
    """{text: the earlier text most like it}, by signature; a little below what is asked for."""
    best: dict[int, tuple[float, int]] = {}
    width = config.hashes // config.bands
    for band in range(config.bands):
        band_DB = np.ascontiguousarray(digest_DH[:, band * width : (band + 1) * width])
        key_D = band_DB.view(np.dtype((np.void, band_DB.dtype.itemsize * width))).ravel()
        _, first_U, which_D = np.unique(key_D, return_index=True, return_inverse=True)
        earlier_D = first_U[which_D]
        (later_C,) = np.nonzero(earlier_D != np.arange(len(earlier_D)))
        alike_C = (digest_DH[later_C] == digest_DH[earlier_D[later_C]]).mean(axis=1)
        for later, alike in zip(later_C.tolist(), alike_C.tolist(), strict=True):
            if alike >= config.similarity - 0.1:
                best[later] = max(best.get(later, (0.0, -1)), (alike, int(earlier_D[later])))
    return {later: earlier for later, (_, earlier) in best.items()}


def jaccard(one: str, other: str, run: int) -> float:
    """Share of runs of words that two texts have in common, of all that either has."""
    a, b = set(shingle(one, run)), set(shingle(other, run))
    return len(a & b) / len(a | b)

"""Beginning a group of the store that a model's answers fill, or going on with it."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vxdist.asking.identity import digest_questions, refuse_others
from vxdist.asking.outcomes import Question
from vxdist.asking.prompting import Prompter
from vxdist.errors import UserError
from vxstore.begun import begun_attrs, discard_unsealed
from vxstore.identity import begun_alike


def make_way(
    path: str,
    group: str,
    identity: Mapping[str, Any],
    key: str,
    *,
    absent: Mapping[str, Any] | None = None,
) -> None:
    """Remove a group that was begun with another identity if nothing of it is sealed, as after a
    trial that failed.

    `key` and `absent` are those of `begun_alike`. Raises UserError, naming what differs, if
    something is sealed.
    """
    try:
        begun_alike(path, group, identity, key, absent=absent)
    except UserError:
        if not discard_unsealed(path, group):
            raise


def is_begun(path: str, group: str, questions: Sequence[Question], key: str, what: str) -> bool:
    """Whether a group was begun with these questions; one of others is removed if nothing of it is
    sealed.

    `key` and `what` are those of `refuse_others`. Raises UserError if something is sealed.
    """
    kept = begun_attrs(path, group)
    if not kept:
        return False
    try:
        refuse_others(kept.get("questions_digest"), digest_questions(questions), key, what)
    except UserError:
        if not discard_unsealed(path, group):
            raise
        return False
    return True


def count_missing(path: str, group: str, sealed: Callable[[], NDArray[np.bool_]]) -> int:
    """Entries of a group that are not sealed, as `sealed` reads them; at least one while rank 0 is
    still creating it."""
    if not begun_alike(path, group, {}, ""):
        return 1
    return int((~sealed()).sum())


def describe_questions(questions: Sequence[Question], prompter: Prompter) -> dict[str, Any]:
    """What a group keeps of its questions: their digest, and the first prompt of each language."""
    return {
        "questions_digest": digest_questions(questions),
        "sample_prompts": {q.language: prompter.show(q.token_ids_T) for q in reversed(questions)},
    }

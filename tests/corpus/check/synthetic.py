"""Corpora of random words, sound, or with one fault planted."""

from collections.abc import Callable, Sequence

import numpy as np

from vxdist.corpus import STANCES, ActivationItem

WORDS = [f"w{n}" for n in range(300)]
Length = Callable[[int, int, str], float]
"""Factor of the length of value v's dilemma d in a stance."""


def make_stories(
    seed: int,
    *,
    values: int = 4,
    dilemmas: int = 12,
    both: int = 12,
    length: Length = lambda value, dilemma, stance: 1.0,
    late: str = "",
    settings: Sequence[Sequence[str]] | None = None,
) -> list[ActivationItem]:
    """Stories of `dilemmas` dilemmas for each value, the first `both` of them in both stances.

    Dilemmas have lengths of their own, which both tellings share. `late` follows the texts of the
    second half; `settings[value][dilemma]` are the settings, random ones by default.
    """
    rng = np.random.default_rng(seed)
    stories = []
    for v in range(values):
        for d in range(dilemmas):
            own = np.exp(rng.normal(0, 0.15))
            setting = f"s{rng.integers(8)}" if settings is None else settings[v][d]
            for stance in STANCES[: 2 if d < both else 1]:
                spread = np.exp(rng.normal(0, 0.05))
                words = rng.choice(WORDS, max(4, round(60 * own * spread * length(v, d, stance))))
                text = " ".join([*words.tolist(), late if d >= dilemmas // 2 else ""])
                stories.append(
                    ActivationItem(
                        id=f"v{v}-{d}-{stance}",
                        pair=f"v{v}-{d}",
                        value=f"v{v}",
                        language="en",
                        stance=stance,
                        dilemma=text,
                        setting=setting,
                    )
                )
    return stories

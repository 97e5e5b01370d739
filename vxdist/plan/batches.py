"""Packing texts into batches that waste few tokens on padding."""

from collections.abc import Sequence

from vxdist.errors import UserError


def pack(
    lengths: Sequence[int], *, tokens_per_batch: int, max_padding: float, section: str = "locate"
) -> tuple[tuple[int, ...], ...]:
    """Cut texts, longest first, into batches of positions into `lengths`.

    A batch, padded to its longest text, has at most `tokens_per_batch` tokens, of which at most
    the fraction `max_padding` is padding. Ties keep their order, so the result depends only on
    the arguments. Raises UserError, naming the settings as those of `section`, if a single text
    exceeds the budget.
    """
    if not 0 <= max_padding < 1:
        raise UserError(f"{section}.max_padding: {max_padding} must be at least 0 and less than 1")
    order = sorted(range(len(lengths)), key=lambda i: (-lengths[i], i))
    if order and lengths[order[0]] > tokens_per_batch:
        raise UserError(
            f"{section}.tokens_per_batch: {tokens_per_batch} is less than the longest text "
            f"({lengths[order[0]]} tokens); raise it to at least that"
        )
    batches: list[list[int]] = []
    used = 0
    for i in order:
        if batches:
            width = lengths[batches[-1][0]]
            padded = width * (len(batches[-1]) + 1)
            fits = padded <= tokens_per_batch
            if fits and padded - used - lengths[i] <= max_padding * padded:
                batches[-1].append(i)
                used += lengths[i]
                continue
        batches.append([i])
        used = lengths[i]
    return tuple(tuple(batch) for batch in batches)

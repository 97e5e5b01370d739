"""What a store's record says of its clusters, and whether it can be tested."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import xarray as xr

from vxdist.errors import UserError
from vxdist.reduce.clusters import Compared, Pair, compare_clusters
from vxdist.reduce.language_parts import LanguageParts, read_parts
from vxdist.reduce.selectors import Selector
from vxdist.reduce.testing import Testing
from vxstore.blocks import Blocks, read_blocks
from vxstore.read import Store


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What a store's record says of its clusters, in each language and pooled."""

    record: xr.Dataset
    parts: Sequence[LanguageParts]
    compared: Sequence[Compared]
    pairs: Sequence[Pair]
    values: Sequence[str]
    num_neurons: int
    """Those that exist."""
    blocks: Blocks | None = None
    """The blocks of each layer; None where layers are alike."""

    @classmethod
    def of(cls, store: Store, root: xr.Dataset, testing: Testing) -> "Reading":
        """Read the labels. Raises UserError as `compare_clusters` does."""
        record = store.record()
        for name in ("token_count", "story_count"):  # a chunk a part: read once
            record[name].load()
        values = [str(label) for label in root.value.values]
        blocks = read_blocks(store.attrs)
        size = root.sizes["layer"] * root.sizes["neuron"]
        languages = [str(label) for label in root.language.values]
        parts = [read_parts(record, values, language) for language in languages]
        compared, pairs = compare_clusters(record, parts, values, testing.adjust)
        return cls(
            record=record,
            parts=parts,
            compared=compared,
            pairs=pairs,
            values=values,
            num_neurons=size if blocks is None else int(blocks.exists().sum()),
            blocks=blocks,
        )

    @property
    def testable(self) -> bool:
        """Whether any language can be tested."""
        return any(of.untested is None for of in self.compared)

    @property
    def untested(self) -> dict[str, Any]:
        """Attributes of a score that could not be tested."""
        return {"tests": {of.language: {"untested": of.untested} for of in self.compared}}

    def check(self, selector: Selector) -> None:
        """Raise UserError if the selector needs tests that no language has."""
        for name in getattr(selector, "needs_tests", ()):
            reasons = [of.untested or of.absent.get(name) for of in self.compared]
            if all(reasons):
                raise UserError(
                    f"reduce.selector: it selects by {name}, which cannot be tested: {reasons[0]}; "
                    "record more dilemmas, or set reduce.selector: vape"
                )

"""Verifying a finished attribution: what follows from its own numbers.

D: dilemma, L: layer, N: neuron, V: value, G: language.
"""

from collections.abc import Iterator

import numpy as np
import xarray as xr

from vxstore.attribution import BY_VALUE, cells, sum_dilemmas
from vxstore.check.laws import broken_laws
from vxstore.declared import array_laws

TOLERANCE = 1e-9


def broken_attribution(group: str, attribution: xr.Dataset) -> Iterator[tuple[str, str]]:
    """Arrays that break a law, and how."""
    if not attribution["sealed"].values.all():
        yield f"{group}/sealed", "finished, but a dilemma is not sealed"
        return
    labels = [[str(label) for label in attribution[dim].values] for dim in BY_VALUE[2:]]
    along = [[str(label) for label in attribution[f"dilemma_{d}"].values] for d in BY_VALUE[2:]]
    at = cells(*along, *labels)
    counts = attribution["dilemma_count"].transpose(*BY_VALUE[2:]).values
    if any(counts[v, g] != len(of) for (v, g), of in at.items()):
        yield f"{group}/dilemma_count", "not the number of dilemmas"
        return
    laws = array_laws(attribution)
    for layer in range(attribution.sizes["layer"]):
        block, where = attribution.isel(layer=slice(layer, layer + 1)).load(), f"layer {layer}: "
        sums, squares = (
            block[name].transpose(*BY_VALUE).values
            for name in ("attribution_sum", "attribution_square_sum")
        )
        broken = list(broken_laws(block, laws, where))
        if not (np.isfinite(sums).all() and np.isfinite(squares).all()):
            broken.append(("attribution_sum", f"{where}not finite"))
        elif (sums**2 > counts * squares * (1 + TOLERANCE)).any():
            broken.append(("attribution_square_sum", f"{where}less than the sum allows"))
        if not broken and "attribution" in block:
            found = sum_dilemmas(block["attribution"].values, at, counts.shape)
            expected = dict(zip(("attribution_sum", "attribution_square_sum"), found, strict=True))
            broken += [
                (name, f"{where}not the sum over the dilemmas")
                for name, there in (
                    ("attribution_sum", sums),
                    ("attribution_square_sum", squares),
                )
                if not np.allclose(there, expected[name], rtol=TOLERANCE, atol=1e-12)
            ]
        yield from ((f"{group}/{name}", what) for name, what in broken)
        if broken:
            return

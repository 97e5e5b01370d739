"""All that is known of one neuron.

V: value, G: language.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from vxstore import experts
from vxstore.errors import StoreError
from vxstore.query.claimed import claim_tables
from vxstore.query.lookup import open_root, open_score, reading
from vxstore.query.ranks import rank_tables
from vxstore.read import Store
from vxstore.schema import POOLED
from vxstore.statistics import DEFAULT, Law, read_law, recorded_names


def neuron(
    store: Store, layer: int, neuron: int | tuple[int, ...], *, score: str | None = None
) -> dict[str, Any]:
    """All that the store knows of one neuron.

    Keys: store, model, denominator (what token_count counts; imported counts may be by
    questions), layer, neuron, score (None if the store has none) and `values`, a table of
    language (`pooled` last), value, token_count, active_count, probability (active tokens /
    tokens), mean_activation (over all tokens; absent if no sums are recorded) and the statistics
    recorded beside the default ones (a maximum over no tokens is NaN).

    With a score, also ranked_by, ascending, and in `values` whether the neuron is selected. Where
    the score ranks once per language, `languages` is a table of language, the number that ranks
    (called as its array is), the array of neurons that took part (as passed_filter; if any), rank
    (1 is the neuron ranked first of those that took part, ties by layer and neuron; None if it
    did not take part) and ranked_count (how many took part). Where each value has its own
    ranking, these columns are in `values`. A score without `pooled` leaves its rows empty. `score`
    None is `vxstore.query.default_score`, if the store has any.

    `claims` is then a table of language, value, level and claim (-1 and empty where the neuron is
    neither selected nor has a claim) and, if the score is tested, t_value, p_value, the q of each
    claim (called as its array is), auc and stability; `rivals` has q_omnibus and, for each
    language, the value for which the neuron is second most active (rival). NaN is not tested.

    In a store with experts `neuron` may be (expert, unit), and where layers differ (block, expert,
    unit), with -1 as the expert of a dense block; these are keys too, and `values` has
    routed_count, the tokens routed to the expert, by which active_count and the sums are divided:
    where it is 0, probability and mean_activation are NaN.

    Raises StoreError if the store is not complete, has no such layer, neuron or score.
    """
    root, values, languages = open_root(store)
    neuron = find_neuron(store, root, layer, neuron)
    found = open_score(store, score) if score is not None or store.names("scores") else None
    about: dict[str, Any] = {
        "store": store.path,
        "model": store.attrs.get("model"),
        "denominator": store.attrs.get("denominator", "tokens"),
        "layer": layer,
        "neuron": neuron,
        **experts.columns(store.attrs, root.sizes["neuron"], layer, neuron),
        "score": None if found is None else found.name,
        "values": _count_table(store, root, values, languages, layer, neuron),
    }
    if found is None:
        return about
    return about | rank_tables(found, root, about) | claim_tables(found, layer, neuron)


def find_neuron(store: Store, root: xr.Dataset, layer: int, neuron: int | tuple[int, ...]) -> int:
    """The number of a neuron in its layer. Raises StoreError if there is none such."""
    attrs, num_neurons = store.attrs, root.sizes["neuron"]
    _require_within(store, root, "layer", layer)
    if isinstance(neuron, tuple):
        neuron = experts.find_neuron(store.path, attrs, num_neurons, layer, neuron)
    _require_within(store, root, "neuron", neuron)
    experts.routed_expert(attrs, num_neurons, layer, neuron)  # raises if it does not exist
    return neuron


def _require_within(store: Store, root: xr.Dataset, dim: str, at: int) -> None:
    if not 0 <= at < root.sizes[dim]:
        raise StoreError(f"{store.path} has no {dim} {at}; there are 0 to {root.sizes[dim] - 1:,}")


def _count_table(
    store: Store,
    root: xr.Dataset,
    values: Sequence[str],
    languages: Sequence[str],
    layer: int,
    neuron: int,
) -> pd.DataFrame:
    """Counts of one neuron by language and value, and over all languages."""
    with reading(store, "statistics"):
        recorded = [name for name in recorded_names(store.attrs) if name in root]
        laws = {name: read_law(name, root[name].attrs) for name in recorded}
    further = [name for name in laws if name not in DEFAULT]
    counts = ("token_count", experts.ROUTED, "active_count", "activation_sum")
    expert = experts.routed_expert(store.attrs, root.sizes["neuron"], layer, neuron)
    without = () if expert is not None else (experts.ROUTED,)
    names = [*(name for name in counts if name in root and name not in without), *further]
    with reading(store, "active_count, token_count or another statistic"):
        cells = root[names].isel(layer=layer, neuron=neuron)
        if expert is not None:
            cells = cells.isel(routed_expert=expert)
        cells = cells.load().transpose("language", "value")
    table = pd.DataFrame(
        {
            "language": np.repeat(np.array([*languages, POOLED], dtype=object), len(values)),
            "value": np.tile(np.array(values, dtype=object), len(languages) + 1),
        }
    )
    for name in names:
        count_GV, law = cells[name].values, laws.get(name, Law(combine="sum"))
        table[name] = np.concatenate([count_GV, law.pool(count_GV, axis=0)[None]]).reshape(-1)
    given = table[experts.ROUTED if experts.ROUTED in names else "token_count"].to_numpy()
    others = {name: table.pop(name).replace(-np.inf, np.nan) for name in further}
    table["probability"] = experts.share(table.active_count.to_numpy(), given)
    if "activation_sum" in names:
        table["mean_activation"] = experts.share(table.pop("activation_sum").to_numpy(), given)
    return table.assign(**others)

"""How often one neuron is active in each dilemma cluster: all tellings of one dilemma."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from vxstore import experts
from vxstore.query.lookup import open_root, reading, strings
from vxstore.query.neurons import find_neuron
from vxstore.read import Store
from vxstore.schema import POOLED

CLUSTER = "cluster"


def clusters(store: Store, layer: int, neuron: int | tuple[int, ...]) -> pd.DataFrame:
    """Rates of one neuron by dilemma cluster: one row for each (language, value, cluster).

    Columns language (`pooled` last), value, cluster (its number within the value), token_count
    (routed_count of a neuron of an expert), active_count and probability, active tokens / tokens
    given, summed over the parts of the cluster; NaN where the neuron was given none. In stores of
    earlier versions, which do not say which parts tell the same dilemma, every part is a cluster of
    its own. `neuron` may be (expert, unit), or (block,
    expert, unit) where layers differ.

    Raises StoreError if the store is not complete, or has no such layer or neuron.
    """
    root, values, languages = open_root(store)
    neuron = find_neuron(store, root, layer, neuron)
    with reading(store, "record"):
        record = store.record()
    with reading(store, "record/active_count or record/token_count"):
        active = record["active_count"].isel(layer=layer, neuron=neuron).values
        given = record["token_count"].values
        expert = experts.routed_expert(store.attrs, root.sizes["neuron"], layer, neuron)
        if expert is not None:
            given = record[experts.ROUTED].isel(layer=layer, routed_expert=expert).values
        of_part = pd.DataFrame(
            {
                "language": strings(record["language"].values),
                "value": strings(record["value"].values),
                "cluster": _numbers(record),
                "given": given.astype(np.int64),
                "active_count": active.astype(np.int64),
            }
        )
    summed = _sum(of_part, values, languages)
    summed["probability"] = experts.share(summed.active_count.to_numpy(), summed.given.to_numpy())
    name = "token_count" if expert is None else experts.ROUTED
    return summed.rename(columns={"given": name})


def _numbers(record: xr.Dataset) -> NDArray[np.int64]:
    """The cluster of each part; in stores that have none, parts of a value are counted through."""
    if CLUSTER in record.variables:
        return np.asarray(record[CLUSTER].values, dtype=np.int64)
    values = pd.Series(strings(record["value"].values))
    return np.asarray(values.groupby(values).cumcount(), dtype=np.int64)


def _sum(of_part: pd.DataFrame, values: Sequence[str], languages: Sequence[str]) -> pd.DataFrame:
    """Sums over the parts of a cluster, in the order of the store's labels, `pooled` last."""
    keys = ["language", "value", "cluster"]
    both = pd.concat([of_part, of_part.assign(language=POOLED)])
    for name, labels in (("language", [*languages, POOLED]), ("value", list(values))):
        both[name] = pd.Categorical(both[name], categories=list(dict.fromkeys(labels)))
    summed = both.groupby(keys, observed=True)[["given", "active_count"]].sum().reset_index()
    return summed.astype({"language": object, "value": object})

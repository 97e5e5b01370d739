"""What a store contains, and how complete it is."""

from typing import Any

import pandas as pd

from vxstore.blocks import read_blocks
from vxstore.declared import describe_ranking
from vxstore.experts import count_experts
from vxstore.io.metadata import is_listed, read_root
from vxstore.names import names_on_disk
from vxstore.query.lookup import get_array, get_attrs, read_array, read_labels
from vxstore.read import Store

ABOUT = (
    "model", "model_revision", "model_architecture", "activation_function", "dtype", "corpus",
    "created", "state", "format_version",
)  # fmt: skip


def describe(store: Store) -> dict[str, Any]:
    """What the store contains, and how complete it is, as JSON values; also while unfinished.

    Keys: store, those of `ABOUT`, packing (if the weights are packed
    in the model's files), compile (if the model was compiled), denominator (what
    token_count counts), complete, parts (sealed, total), layers, neurons (per layer), values,
    languages, counts (one entry per value and language), scores (by name: their attributes, with
    ranked_by and ascending filled in), evaluations and attributions (by name: their attributes and
    sizes); with experts, experts (per layer) and experts_per_token (None if not known); where
    layers differ, blocks (of each layer).
    """
    num_layers, num_neurons, *_ = get_array(store, "active_count").shape
    sealed, total = parts(store)
    return {
        "store": store.path,
        **{key: store.attrs.get(key) for key in ABOUT},
        **{key: store.attrs[key] for key in ("packing", "compile") if key in store.attrs},
        "denominator": store.attrs.get("denominator", "tokens"),
        "complete": store.complete,
        "parts": {"sealed": sealed, "total": total},
        "layers": num_layers,
        "neurons": num_neurons,
        **_experts(store),
        "values": read_labels(store, "value"),
        "languages": read_labels(store, "language"),
        "counts": counts(store).to_dict("records"),
        "scores": {name: _score(store, name) for name in store.names("scores")},
        "evaluations": {name: _evaluation(store, name) for name in store.names("evaluation")},
        "attributions": {name: _attribution(store, name) for name in store.names("attribution")},
    }


def _experts(store: Store) -> dict[str, Any]:
    if (blocks := read_blocks(store.attrs)) is not None:
        return {"blocks": blocks.described()}
    if not (num_experts := count_experts(store.attrs)):
        return {}
    return {"experts": num_experts, "experts_per_token": store.attrs.get("experts_per_token")}


def parts(store: Store) -> tuple[int, int]:
    """The numbers of sealed parts and of all parts."""
    sealed = get_array(store, "record/sealed")
    if store.complete:  # implies that every part is sealed: saves many small reads
        return sealed.size, sealed.size
    return int(read_array(store, sealed).sum()), sealed.size


def counts(store: Store) -> pd.DataFrame:
    """Tokens counted and stories read: columns value, language, token_count, story_count.

    For an unfinished store, only those of the sealed parts.
    """
    names = ("token_count", "story_count")
    cells = pd.MultiIndex.from_product(
        [read_labels(store, "value"), read_labels(store, "language")], names=["value", "language"]
    )
    if store.complete:
        data = {name: read_array(store, get_array(store, name)).reshape(-1) for name in names}
        return pd.DataFrame(data, index=cells).reset_index()
    sealed = read_array(store, get_array(store, "record/sealed"))
    on_disk = names_on_disk("record", store.attrs["format_version"])
    by_part = pd.DataFrame(
        {
            name: read_labels(store, f"record/{on_disk.get(name, name)}")
            for name in ("value", "language")
        }
        | {name: read_array(store, get_array(store, f"record/{name}")) for name in names}
    )
    summed = by_part[sealed].astype(dict.fromkeys(names, "int64")).groupby(list(cells.names)).sum()
    return summed.reindex(cells, fill_value=0).reset_index()


def _score(store: Store, name: str) -> dict[str, Any]:
    """Attributes of one score, and how it ranks."""
    attrs = get_attrs(store, f"scores/{name}")
    return {**attrs, **describe_ranking(attrs)}


def _evaluation(store: Store, name: str) -> dict[str, Any]:
    """Attributes and size of one evaluation, and the attributes of its effects, if it has any."""
    group = f"evaluation/{name}"
    has_effect = is_listed(read_root(store.path), f"{group}/effect")
    return {
        **get_attrs(store, group),
        "conditions": get_array(store, f"{group}/condition").size,
        "dilemmas": get_array(store, f"{group}/dilemma").size,
        "effect": get_attrs(store, f"{group}/effect") if has_effect else {},
    }


def _attribution(store: Store, name: str) -> dict[str, Any]:
    """Attributes and size of one attribution."""
    group = f"attribution/{name}"
    dilemmas = get_array(store, f"{group}/dilemma").size
    return {**get_attrs(store, group), "dilemmas": dilemmas}

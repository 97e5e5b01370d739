"""Taking selections and counts out of a store, as files for other software.

L: layer, N: neuron, V: value, G: language, K: one of the neurons found.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd

from vxstore import experts
from vxstore.errors import StoreError
from vxstore.query.files import check_out, write_json, write_rows
from vxstore.query.lookup import open_root, open_scores, pick, reading, recorded
from vxstore.query.mask import mask
from vxstore.query.neurons import apart
from vxstore.read import Store
from vxstore.statistics import recorded_names

WHAT = ("neurons", "counts")


def export(
    store: Store,
    out: str,
    *,
    what: str = "neurons",
    score: str = "vape",
    values: Sequence[str] | None = None,
    languages: Sequence[str] | None = None,
    force: bool = False,
) -> int:
    """Write `selected_rows` (`what` neurons) or `count_rows` (counts) to the file `out`.

    By its ending: .csv, .parquet, or .json for a mask file (see `vxstore.mask_file`; neurons).
    None is all values, and every recorded language; `force` replaces a file that is there. `out`
    is whole or not there: a kill leaves at most a file of another name. Returns the number of
    rows written, or of neurons in the masks.

    Raises StoreError if `out` is there or cannot be written, its ending is not known or pyarrow
    is not installed, and for all that the rows raise.
    """
    if what not in WHAT:
        raise StoreError(f"cannot export {what!r}; there are {', '.join(WHAT)}")
    ending = check_out(store.path, out, force=force)
    if ending == ".json":
        if what != "neurons":
            raise StoreError(f"{out} would be a mask file, which holds neurons; export .csv")
        content = mask(store, values=values, languages=languages, score=score)
        write_json(out, content)
        return sum(
            len(neurons)
            for by_language in content["masks"].values()
            for by_layer in by_language.values()
            for neurons in by_layer.values()
        )
    if what == "neurons":
        blocks = iter([selected_rows(store, values=values, languages=languages, score=score)])
    else:
        blocks = count_rows(store, values=values, languages=languages)
    return write_rows(out, ending, blocks)


def selected_rows(
    store: Store,
    *,
    values: Sequence[str] | None = None,
    languages: Sequence[str] | None = None,
    score: str = "vape",
) -> pd.DataFrame:
    """One row for each selected (language, value, layer, neuron), in this order.

    Further columns: entropy (nats), probability (active tokens / tokens of the value),
    mean_other_probability (mean over the other values; NaN if there is none). In a store with
    experts, expert and unit stand behind neuron, and a probability is of the tokens routed to the
    expert. None is all values, and every recorded language; `pooled` may be among `languages`.
    Raises StoreError if the store is not complete, or naming the known ones if there is no such
    score, value or language.
    """
    scores, known_values, known_languages = open_scores(store, score)
    values = pick(store, "value", values, known_values, known_values)
    languages = pick(store, "language", languages, known_languages, recorded(known_languages))
    value_V = np.array([known_values.index(name) for name in values])
    language_G = np.array([known_languages.index(name) for name in languages])
    blocks: list[dict[str, Any]] = []
    for layer in range(scores.sizes["layer"]):  # one at a time: all probabilities are too many
        with reading(store, "entropy, selected or activation_probability"):
            block = scores.isel(layer=layer).load()
        selected_GVN = block.selected.transpose("language", "value", "neuron").values
        g_K, v_K, neuron_K = np.nonzero(selected_GVN[np.ix_(language_G, value_V)])
        entropy_GN = block.entropy.transpose("language", "neuron").values
        probability_GNV = block.activation_probability.transpose(
            "language", "neuron", "value"
        ).values
        own_K, others_K = apart(probability_GNV[language_G[g_K], neuron_K], value_V[v_K])
        blocks.append(
            {
                "language": g_K,
                "value": v_K,
                "layer": np.full(len(g_K), layer),
                "neuron": neuron_K,
                **experts.columns(store.attrs, scores.sizes["neuron"], neuron_K),
                "entropy": entropy_GN[language_G[g_K], neuron_K],
                "probability": own_K,
                "mean_other_probability": others_K,
            }
        )
    rows = pd.DataFrame({key: np.concatenate([b[key] for b in blocks]) for key in blocks[0]})
    rows = rows.sort_values(["language", "value"], kind="stable", ignore_index=True)
    rows["language"] = _labels(rows.language, languages)
    rows["value"] = _labels(rows.value, values)
    return rows


def count_rows(
    store: Store,
    *,
    values: Sequence[str] | None = None,
    languages: Sequence[str] | None = None,
) -> Iterator[pd.DataFrame]:
    """The counts, a table for each layer, one row for each (language, value, layer, neuron).

    Further columns: token_count and the statistics that are recorded, as they are stored (a maximum
    over no tokens is minus infinity); in a store with experts, expert and unit behind neuron, and
    routed_count, the tokens routed to the neuron's expert, which the counts and sums are to be
    divided by. None is all values and languages; `pooled` is none of them. No more than one layer
    is in memory.
    Raises StoreError if the store is not complete, is damaged, or has no such value or language,
    naming the known ones.
    """
    root, known_values, known_languages = open_root(store)
    values = pick(store, "value", values, known_values, known_values)
    languages = pick(store, "language", languages, known_languages, known_languages)
    root = root.isel(
        value=[known_values.index(name) for name in values],
        language=[known_languages.index(name) for name in languages],
    )
    return _count_blocks(store, root, values, languages)


def _count_blocks(
    store: Store, root: Any, values: Sequence[str], languages: Sequence[str]
) -> Iterator[pd.DataFrame]:
    """A generator, apart from `count_rows` so that what was asked wrongly is told at once."""
    shape = len(languages), len(values), root.sizes["neuron"]
    per_neuron = [name for name in recorded_names(store.attrs) if name in root]
    code_GVN = np.indices(shape, dtype=np.int32)
    for layer in range(root.sizes["layer"]):
        columns: dict[str, Any] = {
            "language": _labels(code_GVN[0].reshape(-1), languages),
            "value": _labels(code_GVN[1].reshape(-1), values),
            "layer": np.full(code_GVN[2].size, layer),
            "neuron": code_GVN[2].reshape(-1).astype(np.int64),
        }
        columns |= experts.columns(store.attrs, shape[2], columns["neuron"])
        with reading(store, "counts"):
            block = root[["token_count", *per_neuron]].isel(layer=layer).load()
            if experts.ROUTED in root:
                routed = root[experts.ROUTED].isel(layer=layer).load()
                block[experts.ROUTED] = routed.isel(routed_expert=block.expert)
        token_GV1 = block.token_count.transpose("language", "value").values[..., None]
        columns["token_count"] = np.broadcast_to(token_GV1, shape).reshape(-1)
        for name in (experts.ROUTED, *per_neuron):
            if name in block:
                counts_GVN = block[name].transpose("language", "value", "neuron").values
                columns[name] = counts_GVN.reshape(-1)
        yield pd.DataFrame(columns)


def _labels(codes: Any, names: Sequence[str]) -> Any:
    """Names by their numbers, kept as numbers."""
    return pd.Categorical.from_codes(codes, pd.Index(list(names), dtype=object))

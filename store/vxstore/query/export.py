"""Taking selections and counts out of a store, as files for other software.

L: layer, N: neuron, V: value, G: language, K: one of the neurons found.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from vxstore import experts
from vxstore.claims import ORDER, Claims, find_levels
from vxstore.declared import SELECTED
from vxstore.errors import StoreError
from vxstore.io.metadata import OTHERS, read_root
from vxstore.query.bounds import require_rows
from vxstore.query.claimed import level_columns
from vxstore.query.dilemmas import dilemma_rows
from vxstore.query.effects import effect_rows
from vxstore.query.files import check_out, write_json, write_rows
from vxstore.query.lookup import Score, open_root, open_score, pick, reading
from vxstore.query.mask import mask
from vxstore.query.ranking import (
    apart,
    column,
    layer_blocks,
    numbers,
    read_probabilities,
    selections,
)
from vxstore.read import Store
from vxstore.statistics import recorded_names

WHAT = ("neurons", "counts", "effects", "dilemmas")
ROWS = 2**20
"""Of a table of counts, which has at least those of one value and language in a layer."""


def export(
    store: Store,
    out: str,
    *,
    what: str = "neurons",
    score: str | None = None,
    evaluation: str | None = None,
    values: Sequence[str] | None = None,
    languages: Sequence[str] | None = None,
    force: bool = False,
) -> int:
    """Write rows to the file `out`: by `what`, `selected_rows` of a score (neurons), `count_rows`
    (counts), or `effect_rows` or `dilemma_rows` of an evaluation (effects, dilemmas).

    Its ending says how: .csv, .parquet, or .json for a mask file (see `vxstore.mask_file`; neurons
    only). None is all values, every recorded language, and `vxstore.query.default_score`; `force`
    replaces an existing file. `out` appears whole or not at all: a kill leaves at most a file of
    another name. Returns the number of rows written, or of neurons that are in any of the masks.

    Raises StoreError if `out` exists or cannot be written, its ending is not known or pyarrow is
    not installed, what is there was written anew in the meantime, and whatever the rows raise.
    """
    if what not in WHAT:
        raise StoreError(f"cannot export {what!r}; there are {', '.join(WHAT)}")
    ending = check_out(store.path, out, force=force)
    vouched = read_root(store.path)["attributes"].get(OTHERS, {})
    if ending == ".json":
        if what != "neurons":
            raise StoreError(f"{out} would be a mask file, which holds neurons; export .csv")
        content = mask(store, values=values, languages=languages, score=score)
        _require_unchanged(store, vouched)
        write_json(out, content)
        by_layer = [layers for of in content["masks"].values() for layers in of.values()]
        return len({(n, j) for layers in by_layer for n, js in layers.items() for j in js})
    chosen: dict[str, Any] = {"values": values, "languages": languages}
    blocks: Mapping[str, Callable[[], Iterable[pd.DataFrame]]] = {
        "neurons": lambda: [selected_rows(store, score=score, **chosen)],
        "counts": lambda: count_rows(store, **chosen),
        "effects": lambda: [effect_rows(store, evaluation, **chosen)],
        "dilemmas": lambda: dilemma_rows(store, evaluation, **chosen),
    }
    return write_rows(out, ending, _of_one_state(store, vouched, blocks[what]()))


def _of_one_state(
    store: Store, vouched: Mapping[str, str], blocks: Iterable[pd.DataFrame]
) -> Iterator[pd.DataFrame]:
    """The blocks; at their end, raises StoreError if they may be of two runs."""
    yield from blocks
    _require_unchanged(store, vouched)


def _require_unchanged(store: Store, vouched: Mapping[str, str]) -> None:
    """Raise StoreError unless what the store vouched for (name to digest) still is as it was."""
    now = read_root(store.path)["attributes"].get(OTHERS, {})
    for name, digest in vouched.items():
        if now.get(name) != digest:
            raise StoreError(
                f"{store.path}: {name.rpartition('/')[0]} was written anew while it was exported; "
                "run the same command again"
            )


def selected_rows(
    store: Store,
    *,
    values: Sequence[str] | None = None,
    languages: Sequence[str] | None = None,
    score: str | None = None,
) -> pd.DataFrame:
    """One row for each selected (language, value, layer, neuron), in this order.

    Further columns: the number that ranks, called as its array is (entropy, in nats, for VAPE; of
    the value, where each has its own ranking), then, if the score is tested, level (0 if nothing is
    claimed), and p_value and the q of level 1 (called as its array is), probability (active tokens
    / tokens of the value),
    mean_other_probability (mean over the other values; NaN if there is none). In a store with
    experts, expert and unit follow neuron, and a probability is of the tokens routed to the
    expert. None is all values, every recorded language, and `vxstore.query.default_score`;
    `pooled` may be among `languages`. Raises StoreError if the store is not complete, or, naming
    the known ones, if there is no such score, value or language.
    """
    found = open_score(store, score)
    values = pick(store, "value", values, found.values, found.values)
    languages = pick(store, "language", languages, found.languages, found.recorded)
    _require_few(found, values, languages)
    blocks = list(_selected_blocks(found, values, languages))
    table = pd.DataFrame({key: np.concatenate([b[key] for b in blocks]) for key in blocks[0]})
    table = table.sort_values(["language", "value"], kind="stable", ignore_index=True)
    table["language"] = _labels(table.language, languages)
    table["value"] = _labels(table.value, values)
    return table


def _require_few(score: Score, values: Sequence[str], languages: Sequence[str]) -> None:
    """Raise StoreError if more is selected than is listed, before any of it is in a table."""
    chosen: dict[str, Any] = {
        "value": [score.values.index(name) for name in values],
        "language": [score.languages.index(name) for name in languages],
    }
    rows = 0
    for _, block in layer_blocks(score, SELECTED):
        rows += int(selections(block.isel(chosen)).sum())
        require_rows(score.store.path, rows)


def _selected_blocks(
    score: Score, values: Sequence[str], languages: Sequence[str]
) -> Iterator[dict[str, Any]]:
    """Columns of `selected_rows` for some layers; language and value are positions in the lists."""
    ranking = score.ranking
    value_V = np.array([score.values.index(name) for name in values], dtype=np.int64)
    language_G = [score.languages.index(name) for name in languages]
    claims, shown = score.claims, level_columns(score)
    for first, block in layer_blocks(score, ranking.array, *shown, *claims.arrays, SELECTED):
        chosen = block.isel(language=language_G)
        g_K, v_K, layer_K, neuron_K = np.nonzero(selections(chosen)[:, value_V])
        number_GVLN = numbers(chosen, ranking)
        number_v_K = value_V[v_K] if ranking.by_value else np.zeros_like(v_K)
        probability_KV = read_probabilities(score, languages, g_K, layer_K + first, neuron_K)
        probability_K, others_K = apart(probability_KV, value_V[v_K])
        yield {
            "language": g_K,
            "value": v_K,
            "layer": layer_K + first,
            "neuron": neuron_K,
            **experts.columns(
                score.store.attrs, score.data.sizes["neuron"], layer_K + first, neuron_K
            ),
            column(ranking.array): number_GVLN[g_K, number_v_K, layer_K, neuron_K],
            **{
                name: of_GVLN[g_K, value_V[v_K], layer_K, neuron_K]
                for name, of_GVLN in _claimed(chosen, claims, shown)
            },
            "probability": probability_K,
            "mean_other_probability": others_K,
        }


def _claimed(
    block: xr.Dataset, claims: Claims, shown: Sequence[str]
) -> Iterator[tuple[str, NDArray[Any]]]:
    """Level, p and q of the neurons of some layers, (language, value, layer, neuron)."""
    if claims.claims:
        yield "level", find_levels(block, claims).astype(np.int64)
    for name in shown:
        yield column(name), block[name].transpose(*ORDER).values.astype(np.float64)


def count_rows(
    store: Store,
    *,
    values: Sequence[str] | None = None,
    languages: Sequence[str] | None = None,
) -> Iterator[pd.DataFrame]:
    """The counts, in tables within a layer, a row for each (language, value, layer, neuron).

    Further columns: token_count and the statistics that are recorded, as they are stored (a maximum
    over no tokens is minus infinity); in a store with experts, expert and unit after neuron, and
    routed_count, the tokens routed to the neuron's expert (in a dense block all tokens), by which
    the counts and sums are to be divided; where layers differ, block before expert. None is all
    values and languages; `pooled` is not among them. At most one layer is in memory, and some
    `ROWS` of its rows.
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
    """A generator, apart from `count_rows` so that a wrong name is refused at once."""
    neurons = root.sizes["neuron"]
    cells = len(languages) * len(values)
    step = max(1, ROWS // neurons)
    per_neuron = [name for name in recorded_names(store.attrs) if name in root]
    for layer in range(root.sizes["layer"]):
        with reading(store, "counts"):
            block = root[["token_count", *per_neuron]].isel(layer=layer).load()
        if experts.ROUTED in root:
            given_NVG = experts.tokens_given(root, slice(layer, layer + 1))[0]
            block[experts.ROUTED] = (("neuron", "value", "language"), given_NVG)
        for first in range(0, cells, step):
            cell_C = np.arange(first, min(first + step, cells))
            table = _counts_of(store, block, layer, (values, languages), cell_C)
            yield table[table.block >= 0] if "block" in table else table  # others do not exist


def _counts_of(
    store: Store,
    block: Any,
    layer: int,
    names: tuple[Sequence[str], Sequence[str]],
    cell_C: Any,
) -> pd.DataFrame:
    """The rows of some pairs of a language and a value, by their numbers, value after value."""
    values, languages = names
    neurons = block.sizes["neuron"]
    at_2C = language_C, value_C = np.divmod(cell_C, len(values))
    neuron = np.tile(np.arange(neurons), len(cell_C))
    columns: dict[str, Any] = {
        "language": _labels(np.repeat(language_C, neurons), languages),
        "value": _labels(np.repeat(value_C, neurons), values),
        "layer": np.full(neuron.size, layer),
        "neuron": neuron,
        **experts.columns(store.attrs, neurons, layer, neuron),
    }
    token_GV = block.token_count.transpose("language", "value").values
    columns["token_count"] = np.repeat(token_GV[at_2C], neurons)
    for name in (experts.ROUTED, *recorded_names(store.attrs)):
        if name in block:
            count_GVN = block[name].transpose("language", "value", "neuron").values
            columns[name] = count_GVN[at_2C].reshape(-1)
    return pd.DataFrame(columns)


def _labels(codes: Any, names: Sequence[str]) -> Any:
    """Names by their positions, kept as positions (a categorical column)."""
    return pd.Categorical.from_codes(codes, pd.Index(list(names), dtype=object))

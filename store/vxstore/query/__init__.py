"""Queries of a store, answered as tables and plain dictionaries. Nothing here prints."""

from vxstore.query.compare import compare
from vxstore.query.describe import counts, describe, parts
from vxstore.query.export import count_rows, export, selected_rows
from vxstore.query.layers import layers
from vxstore.query.lookup import default_evaluation, default_score, open_score
from vxstore.query.mask import mask
from vxstore.query.neurons import neuron, top

__all__ = [
    "compare",
    "count_rows",
    "counts",
    "default_evaluation",
    "default_score",
    "describe",
    "export",
    "layers",
    "mask",
    "neuron",
    "open_score",
    "parts",
    "selected_rows",
    "top",
]

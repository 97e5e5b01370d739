"""Queries of a store, answered as tables and plain dictionaries. Nothing here prints."""

from vxstore.query.answers import answers
from vxstore.query.asked import asked
from vxstore.query.claimed import claimed
from vxstore.query.clusters import clusters
from vxstore.query.compare import compare
from vxstore.query.describe import counts, describe, parts
from vxstore.query.dilemmas import dilemma_rows, flips, read_dilemmas
from vxstore.query.doses import doses
from vxstore.query.effects import effect_rows, effects
from vxstore.query.export import count_rows, export, selected_rows
from vxstore.query.layers import layers
from vxstore.query.lookup import default_evaluation, default_score, open_score
from vxstore.query.mask import mask
from vxstore.query.neurons import neuron
from vxstore.query.null import null
from vxstore.query.settings import settings
from vxstore.query.top import top

__all__ = [
    "answers",
    "asked",
    "claimed",
    "clusters",
    "compare",
    "count_rows",
    "counts",
    "default_evaluation",
    "default_score",
    "describe",
    "dilemma_rows",
    "doses",
    "effect_rows",
    "effects",
    "export",
    "flips",
    "layers",
    "mask",
    "neuron",
    "null",
    "open_score",
    "parts",
    "read_dilemmas",
    "selected_rows",
    "settings",
    "top",
]

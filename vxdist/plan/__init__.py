"""The plan: which part and which batch each text is in. Pure functions; no torch."""

from vxdist.plan.batches import pack
from vxdist.plan.parts import (
    PLAN_VERSION,
    Group,
    Part,
    Plan,
    Telling,
    assign,
    check_parts_per_group,
    count_clusters,
    deal,
    make_plan,
    share_setting,
)
from vxdist.plan.rows import Row, share_rows, stand_alone
from vxdist.plan.texts import TokenizedStory, Tokenizer, fit_stories, tokenize_stories

__all__ = [
    "PLAN_VERSION",
    "Group",
    "Part",
    "Plan",
    "Row",
    "Telling",
    "TokenizedStory",
    "Tokenizer",
    "assign",
    "check_parts_per_group",
    "count_clusters",
    "deal",
    "fit_stories",
    "make_plan",
    "pack",
    "share_rows",
    "share_setting",
    "stand_alone",
    "tokenize_stories",
]

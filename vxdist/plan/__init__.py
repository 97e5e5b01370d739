"""The plan: which part and which batch each text is in. Pure functions; no torch."""

from vxdist.plan.batches import pack
from vxdist.plan.parts import Group, Part, Plan, assign, deal, make_plan
from vxdist.plan.texts import TokenizedStory, Tokenizer, fit_stories, tokenize_stories

__all__ = [
    "Group",
    "Part",
    "Plan",
    "TokenizedStory",
    "Tokenizer",
    "assign",
    "deal",
    "fit_stories",
    "make_plan",
    "pack",
    "tokenize_stories",
]

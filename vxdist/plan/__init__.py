"""The plan: which text is in which part, in which batch. Pure functions; no torch."""

from vxdist.plan.batches import pack
from vxdist.plan.parts import Part, Plan, make_plan, share
from vxdist.plan.texts import TokenizedStory, Tokenizer, tokenize_stories

__all__ = [
    "Part",
    "Plan",
    "TokenizedStory",
    "Tokenizer",
    "make_plan",
    "pack",
    "share",
    "tokenize_stories",
]

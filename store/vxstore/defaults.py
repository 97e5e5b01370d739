"""What a score or an evaluation is whose attributes do not say, as earlier versions wrote them.

These names are also the ones preferred where a store has several and none is given.
"""

DEFAULT_SELECTOR = "vape"
DEFAULT_OUTCOME = "choice"
DEFAULT_INTERVENTION = "zero"

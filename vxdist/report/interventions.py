"""How the page speaks of interventions."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class InterventionWords:
    """`title` names the intervention, `done` says what became of the neurons. `caveat` is the title
    of the caveat, `applied` how its first sentence ends: "In every forward pass, a mask ..."; and
    `limits` what follows."""

    title: str
    done: str
    caveat: str
    applied: str
    limits: str


INTERVENTIONS = {
    "zero": InterventionWords(
        title="zero ablation",
        done="ablated",
        caveat="Zero ablation is off-distribution",
        applied="sets the activations of its neurons to zero",
        limits=(
            "The model was not trained in that state, and part of any shift comes from the damage "
            "rather than from the loss of a value."
        ),
    ),
    "mean": InterventionWords(
        title="mean ablation",
        done="ablated",
        caveat="What mean ablation puts in place",
        applied="replaces the activations of its neurons by their means",
        limits=(
            "The means are taken from the store, over all tokens recorded in the language, of any "
            "value; for a neuron of an expert, over the tokens routed to the expert. What remains "
            "is a typical activation that no longer depends on the text."
        ),
    ),
}


def describe_intervention(name: str) -> InterventionWords:
    """The words for an intervention; for one that is not known here, words that assume little."""
    return INTERVENTIONS.get(name) or InterventionWords(
        title=f"the intervention {name}",
        done="changed",
        caveat=f"What the intervention {name} does to the model",
        applied=f"changes the activations of its neurons by the intervention {name}",
        limits="Part of any shift may come from states that the model was not trained in.",
    )

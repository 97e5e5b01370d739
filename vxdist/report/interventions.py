"""How the page speaks of interventions."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any


@dataclass(frozen=True, kw_only=True)
class InterventionWords:
    """`title` names the intervention, `done` says what became of the neurons. `caveat` is the title
    of the caveat, `applied` how its first sentence ends: "In every forward pass, a mask ..."; and
    `limits` what follows. Names in braces are settings of the intervention."""

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
    "other_mean": InterventionWords(
        title="ablation to the mean of {value}",
        done="ablated",
        caveat="What another value’s mean puts in place",
        applied="replaces the activations of its neurons by their means over stories of {value}",
        limits=(
            "The means are taken from the store, over the tokens recorded in the language; for a "
            "neuron of an expert, over the tokens routed to the expert. Stories of other values "
            "differ in topic too."
        ),
    ),
    "scale": InterventionWords(
        title="scaling by {dose}",
        done="scaled",
        caveat="Scaled activations are off-distribution",
        applied="multiplies the activations of its neurons by {dose}",
        limits=(
            "The further from 1, the further is the model from the states that it was trained in, "
            "and part of any shift comes from that."
        ),
    ),
    "add": InterventionWords(
        title="adding {strength} standard deviations",
        done="pushed",
        caveat="What adding to activations does",
        applied=(
            "adds to the activations of its neurons {strength} times each neuron’s standard "
            "deviation over the tokens of the language"
        ),
        limits=(
            "Each token is pushed alike, whatever it says, and an activation may leave the range "
            "that its function can give. A neuron that is less active for its value is pushed "
            "away from it."
        ),
    ),
}


UNKNOWN = InterventionWords(
    title="the intervention {name}",
    done="changed",
    caveat="What the intervention {name} does to the model",
    applied="changes the activations of its neurons by the intervention {name}",
    limits="Part of any shift may come from states that the model was not trained in.",
)
SETTINGS = {"other_mean": {"value"}, "scale": {"dose"}, "add": {"strength"}}
"""Settings that the words above name."""


def describe_intervention(name: str, settings: Mapping[str, Any]) -> InterventionWords:
    """The words for an intervention with these settings; for one that is not known here, or whose
    settings are not recorded, words that assume little."""
    words = INTERVENTIONS.get(name, UNKNOWN)
    shown = {key: _show(of) for key, of in settings.items()}
    if not SETTINGS.get(name, set()) <= set(shown):
        words = UNKNOWN
    return InterventionWords(
        **{
            f.name: getattr(words, f.name).format_map({**shown, "name": name})
            for f in fields(words)
        }
    )


def _show(setting: object) -> str:
    if setting is None:
        return "all other values"
    return f"{setting:g}" if isinstance(setting, float) else str(setting)

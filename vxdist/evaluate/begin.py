"""Beginning an evaluation: its conditions, masks and attributes, before anything is measured."""

from collections.abc import Sequence
from typing import Any

from vxdist.asking import beginning
from vxdist.asking.outcomes import Question, Traits
from vxdist.asking.prompting import Prompter
from vxdist.evaluate.attributed import draw_at_quantiles, read_neurons
from vxdist.evaluate.conditions import make_conditions, mask_neurons
from vxdist.evaluate.identity import ABSENT, Run, known_to
from vxdist.output import Output
from vxstore.begun import begun_attrs
from vxstore.evaluation import DilemmaLabels, create_evaluation
from vxstore.outcome import NEUTRAL
from vxstore.text import plural

KEY = "evaluate.name"
"""The setting that names an evaluation."""
TRAITS = {"split": "split", "alternative": "alternative", "shares_prompts": "shares"}
"""Attributes of an evaluation that say how its outcome differs, and the traits that they are."""


def make_way(this: Run, identity: dict[str, Any]) -> None:
    """Remove an evaluation of other settings if nothing of it is measured, as after a trial that
    failed. Raises UserError, naming what differs, if something is."""
    path = this.store.path
    known = known_to(begun_attrs(path, this.group), identity)
    beginning.make_way(path, this.group, known, KEY, absent=ABSENT)


def begin(
    this: Run,
    identity: dict[str, Any],
    prompter: Prompter,
    questions: Sequence[Question],
    output: Output,
) -> None:
    """Create the evaluation, unless it was begun with these questions; see `make_way`.

    Raises UserError if it was begun with others.
    """
    if not beginning.is_begun(this.store.path, this.group, questions, KEY, "evaluation"):
        attrs = identity | beginning.describe_questions(questions, prompter)
        _create(this, attrs, output)


def _create(this: Run, identity: dict[str, Any], output: Output) -> None:
    conditions = make_conditions(this.values, this.controls)
    masked_CLNG = mask_neurons(
        conditions,
        [str(label) for label in this.scores.value.values],
        read_neurons(this),
        pool=this.settings.control_pool,
        seed=this.settings.seed,
    )
    if this.draws == "quantiles":
        draw_at_quantiles(this, identity, masked_CLNG)
    create_evaluation(
        this.store.path,
        this.name,
        conditions=conditions,
        dilemmas=[
            DilemmaLabels(id=i.id, value=getattr(i, "value", NEUTRAL), language=i.language)
            for i in this.items
        ],
        languages=this.languages,
        measures=this.outcome.arrays,
        labels=this.outcome.labels,
        masked_CLNG=masked_CLNG,
        attrs=_attributes(this, identity),
    )
    output.say(
        f"evaluate: {this.name}: {plural(len(this.items), _noun(this))} under {len(conditions)} "
        f"conditions (intact, {plural(len(this.values), 'mask')}, "
        f"{plural(this.controls, 'control')} for each{_of_own(this)})"
    )


def _of_own(this: Run) -> str:
    own = this.control_dilemmas == "own" and this.controls
    return ", on its own value's dilemmas" if own else ""


def _noun(this: Run) -> str:
    return "passage" if this.traits.split == "neutral" else "dilemma"


def _attributes(this: Run, identity: dict[str, Any]) -> dict[str, Any]:
    """Attributes of the evaluation: its identity, and what readers need beside it."""
    masks = {} if this.settings.masks is None else {"masks": this.settings.masks}
    traits = {key: getattr(this.traits, trait) for key, trait in TRAITS.items()}
    return {
        **identity,
        "settings": identity["settings"] | masks,
        "effect_of": this.outcome.effect_of,
        "decision_boundary": this.outcome.decision_boundary,
        "mass_of": this.outcome.mass_of,
        **{key: of for key, of in traits.items() if of != getattr(Traits, TRAITS[key])},
        "config": this.config.kept("model", "corpus", "evaluate", "trainer"),
    }

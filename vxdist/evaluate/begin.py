"""Beginning an evaluation: its conditions, masks and attributes, before anything is measured."""

from collections.abc import Sequence
from typing import Any

from vxdist.asking.identity import digest_questions, refuse_others
from vxdist.asking.outcomes import Question, Traits
from vxdist.asking.prompting import Prompter
from vxdist.errors import UserError
from vxdist.evaluate.attributed import draw_at_quantiles, read_neurons
from vxdist.evaluate.conditions import make_conditions, mask_neurons
from vxdist.evaluate.identity import ABSENT, Run, known_to
from vxdist.output import Output
from vxstore.evaluation import (
    DilemmaLabels,
    begun_attrs,
    create_evaluation,
    discard_unmeasured,
)
from vxstore.identity import begun_alike
from vxstore.outcome import NEUTRAL
from vxstore.text import plural


def make_way(this: Run, identity: dict[str, Any]) -> None:
    """Remove an evaluation of other settings if nothing of it is measured, as after a trial that
    failed. Raises UserError, naming what differs, if something is."""
    path, kept = this.store.path, begun_attrs(this.store.path, this.name)
    try:
        begun_alike(path, this.group, known_to(kept, identity), "evaluate.name", absent=ABSENT)
    except UserError:
        if not discard_unmeasured(path, this.name):
            raise


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
    path, kept = this.store.path, begun_attrs(this.store.path, this.name)
    digest = digest_questions(questions)
    if kept:
        try:
            refuse_others(kept.get("questions_digest"), digest, "evaluate.name", "evaluation")
        except UserError:
            if not discard_unmeasured(path, this.name):
                raise
        else:
            return
    samples = {q.language: prompter.show(q.token_ids_T) for q in reversed(questions)}
    attrs = {**identity, "questions_digest": digest, "sample_prompts": samples}
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
        f"{plural(this.controls, 'control')} for each)"
    )


def _noun(this: Run) -> str:
    return "passage" if this.traits.split == "neutral" else "dilemma"


def _attributes(this: Run, identity: dict[str, Any]) -> dict[str, Any]:
    """Attributes of the evaluation: its identity, and what readers need beside it."""
    masks = {} if this.settings.masks is None else {"masks": this.settings.masks}
    traits = {"split": this.traits.split, "alternative": this.traits.alternative}
    default = {"split": Traits.split, "alternative": Traits.alternative}
    return {
        **identity,
        "settings": identity["settings"] | masks,
        "effect_of": this.outcome.effect_of,
        "decision_boundary": this.outcome.decision_boundary,
        "mass_of": this.outcome.mass_of,
        **{key: of for key, of in traits.items() if of != default[key]},
        "config": this.config.kept("model", "corpus", "evaluate", "trainer"),
    }

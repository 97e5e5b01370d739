"""Finishing evaluations: their effects, and what is concluded from several of them together."""

from collections.abc import Sequence

from vxdist.evaluate.attributed import find_attribution, list_dilemmas, make_predictions
from vxdist.evaluate.doses import write_doses
from vxdist.evaluate.effects import is_measured, measured_with, write_effects
from vxdist.evaluate.harm import is_harm_of
from vxdist.evaluate.identity import Run
from vxdist.output import Output
from vxstore import effect_words
from vxstore.evaluation import ConditionRecorder
from vxstore.outcome import answer_mass, has_effect, is_neutral
from vxstore.read import open_store
from vxstore.text import plural


def finish(runs: Sequence[Run], output: Output) -> None:
    """Measure the effects of evaluations, and mark them complete; harm first, as what is said of
    the others depends on it."""
    for this in sorted(runs, key=lambda run: run.traits.split != "neutral"):
        if this.outcome.effect_of is None:
            ConditionRecorder(this.store.path, this.name).complete()
            answers = plural(len(this.items), "dilemma")
            output.say(f"evaluate: answers to {answers} in {this.store.path}, {this.group}")
            continue
        _finish(this, output)
        gather_doses(this, output)
        if this.traits.split == "neutral":
            _renew(this, [run.name for run in runs])


def _finish(this: Run, output: Output) -> None:
    path = this.store.path
    evaluation = this.store.unfinished_evaluation(this.name)
    predictions = make_predictions(this, evaluation, this.controls)
    write_effects(path, this.name, this.measuring, predictions)
    ConditionRecorder(path, this.name).complete()
    mass = answer_mass(evaluation)
    if mass:
        shown = ", ".join(f"{language} {of:.0%}" for language, of in mass.items())
        output.say(f"evaluate: probability of the answers in the intact model: {shown}")
    verdict = open_store(path).effect(this.name).attrs["verdict"]
    output.say(f"evaluate: {effect_words.conclude(verdict, this.kind)}")
    masks = plural(len(this.values), "mask")
    output.say(f"evaluate: effects of {masks} in {path}, {this.group}")


def is_finished(this: Run) -> bool:
    """Whether nothing is left to do for an evaluation that is complete, but for its dose curve."""
    if this.outcome.effect_of is None:
        return True
    evaluation = this.store.evaluation(this.name)
    found = find_attribution(this.store, evaluation.attrs, list_dilemmas(evaluation))
    attribution = found if this.controls else None
    return is_measured(this.store, this.name, this.measuring, attribution)


def gather_doses(this: Run, output: Output) -> None:
    """Write the dose curve that the evaluation belongs to, and say what it shows if it is new."""
    if this.outcome.effect_of is None:
        return
    said = write_doses(this.store.path, this.name, this.measuring)
    if said:
        output.say(f"evaluate: {said}")


def _renew(harm: Run, others: Sequence[str]) -> None:
    """Conclude again from finished evaluations of the same masks, now that their harm is known;
    `others` are finished with it anyway."""
    store = open_store(harm.store.path)
    attrs = store.evaluation(harm.name).attrs
    for name in store.names("evaluation"):
        of = store.evaluation(name).attrs
        if name in others or is_neutral(of) or not has_effect(of) or not is_harm_of(attrs, of):
            continue
        settings = measured_with(store, name)
        # They ablate the same selection, so that this run knows what their draws are matched among.
        predictions = make_predictions(harm, store.evaluation(name), settings.controls)
        write_effects(store.path, name, settings, predictions)

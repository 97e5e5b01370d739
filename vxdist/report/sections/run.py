"""What was run: model, corpus, settings and versions."""

from collections.abc import Mapping
from dataclasses import dataclass

from vxdist.report.content import UNKNOWN, Content
from vxdist.report.elements import Section
from vxdist.report.interventions import describe_intervention
from vxdist.report.notes import selector_notes
from vxdist.report.text import percent, plural
from vxstore.blocks import read_blocks

SPANS = {"all": "the whole story", "response": "choice and rationale only"}


@dataclass(frozen=True, kw_only=True)
class RunView:
    """Terms with their descriptions, and the questions by language."""

    facts: tuple[tuple[str, str], ...]
    prompts: Mapping[str, str]


def make_section(content: Content) -> Section:
    """What was run."""
    facts = (*_recorded(content), *_derived(content), *_versions(content))
    prompts = {} if content.evaluation is None else content.evaluation.prompts
    return Section(title="What was run", view=RunView(facts=facts, prompts=prompts))


def _recorded(content: Content) -> tuple[tuple[str, str], ...]:
    recording, attrs = content.recording, content.recording.attrs
    padding = attrs.get("padding")
    names = ", ".join(name.label for name in content.names.values())
    return (
        ("Model", str(attrs.get("model", UNKNOWN))),
        ("Revision", str(attrs.get("model_revision") or "not given")),
        (
            "Architecture",
            f"{attrs.get('model_architecture', UNKNOWN)}, activation function "
            f"{attrs.get('activation_function', UNKNOWN)}",
        ),
        (
            "Neurons",
            f"{plural(recording.num_layers, 'layer')} × {_of_layer(content)} = "
            f"{recording.total_neurons:,}",
        ),
        ("dtype", str(attrs.get("dtype", UNKNOWN)) + _compiled(attrs)),
        ("Corpus", str(attrs.get("corpus", UNKNOWN))),
        ("Values", f"{len(content.names)} ({names})"),
        ("Languages", ", ".join(content.languages)),
        (
            "Recorded",
            f"{recording.tokens:,} tokens of {plural(recording.stories, 'story', 'stories')}, in "
            f"{plural(recording.parts, 'part')}",
        ),
        ("Padding", percent(float(padding), 1) if isinstance(padding, float | int) else UNKNOWN),
        (
            "Tokens counted",
            SPANS.get(str(_mapping(attrs.get("plan_settings")).get("span")), UNKNOWN),
        ),
    )


def _of_layer(content: Content) -> str:
    recording = content.recording
    blocks = read_blocks(recording.attrs)
    if blocks is not None:
        return f"{int(blocks.exists().sum(axis=1).min()):,} to {recording.num_neurons:,}"
    if not recording.num_experts:
        return f"{recording.num_neurons:,}"
    units = recording.num_neurons // recording.num_experts
    return f"{recording.num_experts:,} experts × {units:,} units"


def _derived(content: Content) -> tuple[tuple[str, str], ...]:
    score, total = content.score, content.recording.total_neurons
    settings = ", ".join(f"{k} {v}" for k, v in score.settings.items() if k != "name")
    selector = f", made by {score.selector}" if score.selector not in (None, score.name) else ""
    ranked = "; ".join(f"{s.language}: {s.ranked_count:,} of {total:,}" for s in score.selections)
    thresholds = "; ".join(selector_notes(content).thresholds)
    return (
        ("Score", f"{score.name}{selector}" + (f" ({settings})" if settings else "")),
        ("Neurons ranked", ranked),
        *((("Thresholds", thresholds),) if thresholds else ()),
        ("Evaluation", _evaluation(content)),
    )


def _evaluation(content: Content) -> str:
    evaluation = content.evaluation
    if evaluation is None:
        return "none shown"
    source = f"the score {evaluation.scores}" if evaluation.scores else "a score not recorded"
    if evaluation.mask_file:
        source = f"the mask file {evaluation.mask_file}"
    words = describe_intervention(evaluation.intervention, evaluation.intervention_settings)
    return (
        f"{evaluation.name} (outcome {evaluation.outcome}): {words.title}, masks of "
        f"{plural(len(evaluation.masks), 'value')} from {source}, "
        f"{plural(evaluation.controls, 'control draw')} per value, "
        f"{plural(evaluation.intact.sizes['dilemma'], 'dilemma')}"
    )


def _versions(content: Content) -> tuple[tuple[str, str], ...]:
    attrs = content.recording.attrs
    versions = _mapping(attrs.get("versions"))
    return (
        ("Versions", ", ".join(f"{k} {v}" for k, v in versions.items()) or UNKNOWN),
        ("Created", str(attrs.get("created", UNKNOWN))),
    )


def _mapping(found: object) -> Mapping[str, object]:
    return found if isinstance(found, Mapping) else {}


def _compiled(attrs: Mapping[str, object]) -> str:
    """What of the model was compiled; nothing if the store does not say."""
    return f", compiled: {attrs['compile']}" if "compile" in attrs else ""

"""The page: content in, one self-contained HTML text out."""

import base64
import hashlib
from collections.abc import Mapping

from jinja2 import Environment, PackageLoader, StrictUndefined

from vxdist.report import figures, tables
from vxdist.report.caveats import caveats
from vxdist.report.content import UNKNOWN, Content
from vxdist.report.text import fixed, percent, signed
from vxdist.report.words import not_evaluated, statement, tiles

SCRIPT = "tips.js"
OPEN_TABLE = 40
"""A full table of more rows than this starts folded."""


def render(content: Content) -> str:
    """The whole page. All that comes from the store or the corpus is escaped."""
    environment = Environment(
        loader=PackageLoader("vxdist.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    outcome = content.outcome
    return environment.get_template("page.html.j2").render(
        content=content,
        outcome=outcome,
        script_hash=_script_hash(environment),
        recorded=str(content.recording.attrs.get("created", ""))[:10],
        statement=statement(content),
        tiles=tiles(content),
        facts=_facts(content),
        layer_maps=figures.layer_maps(content),
        largest_count=figures.largest_count(content),
        tick_every=_tick_every(content.recording.num_layers),
        missing=not_evaluated(content),
        effect_maps=figures.effect_maps(content, outcome) if outcome else [],
        largest_shift=signed(outcome.largest_shift, outcome.digits).lstrip("+") if outcome else "",
        own_rows=tables.effect_rows(content, outcome, own=True) if outcome else [],
        all_rows=tables.effect_rows(content, outcome, own=False) if outcome else [],
        scale=tables.own_scale(outcome) if outcome else None,
        effect_head=tables.EFFECT_HEAD,
        open_table=OPEN_TABLE,
        top_tables=tables.top_tables(content),
        top_head=tables.TOP_HEAD,
        caveats=caveats(content),
    )


def _script_hash(environment: Environment) -> str:
    """For the content security policy: this script runs, and no other."""
    script = environment.get_template(SCRIPT).render()
    digest = hashlib.sha256(script.encode("utf-8")).digest()
    return f"sha256-{base64.b64encode(digest).decode('ascii')}"


def _tick_every(num_layers: int) -> int:
    """Every how many layers one is numbered."""
    return next((k for k in (1, 2, 5, 10) if num_layers / k <= 16), 20)


def _facts(content: Content) -> list[tuple[str, str]]:
    """What was run, as terms and their descriptions."""
    of, attrs = content.recording, content.recording.attrs
    plan = _mapping(attrs.get("plan_settings"))
    padding = attrs.get("padding")
    return [
        ("Model", str(attrs.get("model", UNKNOWN))),
        ("Revision", str(attrs.get("model_revision") or "none given")),
        ("Architecture", f"{attrs.get('model_architecture', UNKNOWN)}, activation "
                         f"{attrs.get('activation_function', UNKNOWN)}"),
        ("Neurons", f"{of.num_layers} layers × {_of_layer(content)} = "
                    f"{of.num_layers * of.num_neurons:,}"),
        ("Number type", str(attrs.get("dtype", UNKNOWN))),
        ("Corpus", str(attrs.get("corpus", UNKNOWN))),
        ("Values", f"{len(content.names)} ({', '.join(n.label for n in content.names.values())})"),
        ("Languages", ", ".join(content.languages)),
        ("Read", f"{of.tokens:,} tokens of {of.stories:,} stories, in {of.parts:,} parts"),
        ("Padding", percent(float(padding), 1) if isinstance(padding, float | int) else UNKNOWN),
        ("Tokens counted", {"all": "the whole story", "response": "choice and rationale only"}.get(
            str(plan.get("span")), UNKNOWN)),
        ("Score", _score(content)),
        ("Thresholds", _thresholds(content)),
        ("Evaluation", _evaluation(content)),
        ("Versions", ", ".join(f"{k} {v}" for k, v in _mapping(attrs.get("versions")).items())
                     or UNKNOWN),
        ("Recorded", str(attrs.get("created", UNKNOWN))),
    ]  # fmt: skip


def _of_layer(content: Content) -> str:
    of = content.recording
    if not of.num_experts:
        return f"{of.num_neurons:,}"
    return f"{of.num_experts:,} experts × {of.num_neurons // of.num_experts:,} units"


def _score(content: Content) -> str:
    settings = ", ".join(f"{k} {v}" for k, v in content.score_settings.items() if k != "name")
    return f"{content.score} ({settings})" if settings else content.score


def _thresholds(content: Content) -> str:
    """What a probability had to exceed, per language."""
    said = []
    for selection in content.selections:
        passed = selection.thresholds.get("filter_threshold")
        belongs = selection.thresholds.get("activation_threshold")
        if isinstance(passed, float) and isinstance(belongs, float):
            said.append(
                f"{selection.language}: {fixed(passed, 3)} to take part, {fixed(belongs, 3)} to "
                "belong to a value"
            )
    return "; ".join(said) or UNKNOWN


def _evaluation(content: Content) -> str:
    outcome = content.outcome
    if outcome is None:
        return "none yet"
    dilemmas = sum(of.dilemma_count for of in outcome.letters)
    return (
        f"{outcome.name}: masks of {len(outcome.masks)} values from the score {outcome.scores}, "
        f"{outcome.controls} control draws each, {dilemmas} dilemmas in both orders of the options"
    )


def _mapping(found: object) -> Mapping[str, object]:
    return found if isinstance(found, Mapping) else {}

"""How facts, thresholds and lists of neurons are shown to people."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import Console

from vxstore.cli.output import new_console, print_table, print_title, print_wrapped
from vxstore.text import clean

MOST_LANGUAGES_ABREAST = 3
ABOUT = {
    "model": "model",
    "model_revision": "revision",
    "model_architecture": "architecture",
    "activation_function": "activation",
    "dtype": "dtype",
    "corpus": "corpus",
    "created": "created",
}
THRESHOLDS = {
    "selected_count": "selected",
    "passed_count": "passed filter",
    "dead_count": "dead",
    "unrouted_count": "unrouted",
    "filter_threshold": "filter p above",
    "activation_threshold": "value p above",
    "entropy_cut": "entropy cut",
}
NEURONS = {
    "language": "language",
    "layer": "layer",
    "neuron": "neuron",
    "expert": "expert",
    "unit": "unit",
    "entropy": "entropy",
    "probability": "p(value)",
    "mean_other_probability": "mean p(others)",
    "value_count": "values",
    "values": "which",
}


def facts(about: Mapping[str, Any]) -> Iterator[tuple[str, str, str, Any]]:
    """What `query.describe` tells, as rows of field, value, language, content."""
    for field, item in _leaves((), {k: v for k, v in about.items() if k != "counts"}):
        if field[0] == "scores" and field[2:3] == ("thresholds",) and len(field) == 5:
            yield ".".join((*field[:3], field[4])), "", field[3], item
        else:
            yield ".".join(field), "", "", item
    for cell in about["counts"]:
        for name in ("token_count", "story_count"):
            yield name, cell["value"], cell["language"], cell[name]


def _leaves(at: tuple[str, ...], item: Any) -> Iterator[tuple[tuple[str, ...], Any]]:
    if isinstance(item, Mapping):
        for key, below in item.items():
            yield from _leaves((*at, str(key)), below)
    else:
        yield at, item


def show_neurons(neurons: Sequence[Mapping[str, Any]], title: str) -> None:
    """A table of the rows of `query.top`."""
    console = new_console()
    print_title(console, title)
    if not neurons:
        console.print("none is selected")
        return
    header = [(NEURONS[name], name not in ("language", "values")) for name in neurons[0]]
    ends = [a["language"] != b["language"] for a, b in itertools.pairwise(neurons)]
    print_table(console, header, [list(row.values()) for row in neurons], ends)


def show_score(told: Mapping[str, Any]) -> None:
    """What `query.rethreshold` tells."""
    console = new_console()
    print_title(console, f"scores/{told['score']}")
    _show_settings(console, told["settings"])
    _show_thresholds(console, told["thresholds"])


def show_info(about: Mapping[str, Any]) -> None:
    """What `query.describe` tells, on about one screen."""
    console = new_console()
    print_title(console, about["store"])
    for name, text in _facts_of_run(about).items():
        console.print(f"{name:14}{clean(text)}", soft_wrap=True)
    console.print()
    _show_counts(console, about)
    for name, score in about["scores"].items():
        console.print()
        print_title(console, f"scores/{name}")
        _show_settings(console, _mapping(score.get("settings")))
        _show_thresholds(console, _mapping(score.get("thresholds")))
    for name, evaluation in about["evaluations"].items():
        console.print()
        print_title(console, f"evaluation/{name}")
        size = {key: evaluation[key] for key in ("conditions", "dilemmas")}
        _show_settings(console, size | _mapping(evaluation.get("settings")) | evaluation["effect"])


def _facts_of_run(about: Mapping[str, Any]) -> dict[str, Any]:
    lines = {name: about[key] or "-" for key, name in ABOUT.items()}
    sealed, total = about["parts"]["sealed"], about["parts"]["total"]
    lines["state"] = about["state"]
    if not about["complete"]:
        lines["state"] = (
            f"not complete: {total - sealed:,} parts are missing; run `vxdist locate` again"
        )
    if about["denominator"] != "tokens":
        lines["denominator"] = (
            f"{about['denominator']}: p is active tokens / {about['denominator']}, and may exceed 1"
        )
    lines["parts"] = f"{sealed:,} of {total:,} sealed"
    lines["neurons"] = f"{about['layers']:,} layers x {about['neurons']:,}"
    if "experts" in about:
        each = about["neurons"] // about["experts"]
        lines["neurons"] += f" ({about['experts']:,} experts x {each:,} units)"
        per_token = about["experts_per_token"]
        lines["experts"] = (
            f"{f'{per_token:,} for each token; ' if per_token else ''}p is active tokens / tokens "
            "routed to the neuron's expert"
        )
    return lines


def _show_counts(console: Console, about: Mapping[str, Any]) -> None:
    languages, counted = about["languages"], about["denominator"]
    if len(languages) > MOST_LANGUAGES_ABREAST:
        header = [("value", False), ("language", False), (counted, True), ("stories", True)]
        print_table(console, header, [list(cell.values()) for cell in about["counts"]])
        return
    kinds = [(f"{name} {what}", True) for name in languages for what in (counted, "stories")]
    rows: dict[str, list[Any]] = {value: [value] for value in about["values"]}
    for cell in about["counts"]:
        rows[cell["value"]] += [cell["token_count"], cell["story_count"]]
    print_table(console, [("value", False), *kinds], list(rows.values()))


def _show_settings(console: Console, settings: Mapping[str, Any]) -> None:
    """On as few lines as will do; prompts and cues are left to JSON."""
    shown = (
        f"{key} {' '.join(map(str, item)) if isinstance(item, list) else item}"
        for key, item in settings.items()
        if key != "name" and not isinstance(item, Mapping)
    )
    print_wrapped(console, ", ".join(shown))


def _show_thresholds(console: Console, thresholds: Mapping[str, Any]) -> None:
    told_any = {key for told in thresholds.values() for key in _mapping(told)}
    shown = {k: n for k, n in THRESHOLDS.items() if k != "unrouted_count" or k in told_any}
    rows = []
    for language, told in thresholds.items():
        of_language = _mapping(told)
        cut, most = of_language.get("entropy_cut"), of_language.get("entropy_maximum")
        # A cut close to the maximum means that the neurons chosen are hardly specific.
        share = f"{cut / most:.3%}" if isinstance(cut, float) and most else None
        rows.append([language, *(of_language.get(key) for key in shown), share])
    numbers = [(name, True) for name in (*shown.values(), "of maximum")]
    print_table(console, [("language", False), *numbers], rows)


def _mapping(item: Any) -> dict[str, Any]:
    return dict(item) if isinstance(item, Mapping) else {}

"""What each `vxstore` command does: run a query, and print the answer in the format wanted."""

import argparse
import dataclasses
from collections.abc import Callable
from typing import Any

import pandas as pd

from vxstore import query
from vxstore.check.store import check as check_store
from vxstore.check.store import describe_findings, repair, tidy
from vxstore.cli import claims, dose_tables, effect_tables, flip_tables, output, show, tables
from vxstore.cli.effects import find_evaluations, gather, make_flat
from vxstore.cli.pipeline import call
from vxstore.cli.progress import layer_progress
from vxstore.errors import StoreError
from vxstore.io.lock import hold
from vxstore.query.evidence import read_evidence
from vxstore.read import Store, open_store
from vxstore.text import clean, plural

Arguments = argparse.Namespace
KEYS = ["language", "value"]


def info(arguments: Arguments) -> None:
    """`vxstore info`"""
    if arguments.settings is not None:
        output.print_yaml(query.settings(_open(arguments.store), arguments.settings))
        return
    if arguments.evaluation is not None:
        asked = query.asked(_open(arguments.store), arguments.evaluation)
        table = pd.DataFrame(asked["prompts"].items(), columns=["language", "prompt"])
        _answer(arguments, asked, table, lambda: show.show_asked(asked))
        return
    about = query.describe(_open(arguments.store))
    if arguments.format == "csv":
        output.print_csv(("field", "value", "language", "content"), show.facts(about))
    else:
        _answer(arguments, about, pd.DataFrame(), lambda: show.show_info(about))


def top(arguments: Arguments) -> None:
    """`vxstore top`"""
    store = _open(arguments.store)
    score = query.open_score(store, arguments.score)
    asked = {"value": arguments.value, "language": arguments.language, "score": score.name}
    neurons = query.top(store, k=arguments.k, level=arguments.level, **asked)
    chosen = f"neurons of {arguments.value}" if arguments.value else "selected neurons"
    if not arguments.level:
        title = f"{chosen}, {score.ranking.first} {score.name} {score.ranking.array} first"
        _answer(arguments, neurons, neurons, lambda: show.show_neurons(neurons, title))
        return
    of = f" for {arguments.value}" if arguments.value else ""
    ranked_by = neurons.attrs["ranked_by"]
    first = score.ranking.first if ranked_by == score.ranking.array else "highest"
    title = f"neurons that have claim {score.claims.title(arguments.level)}{of}, {first} "
    title += f"{score.name} {ranked_by} first"

    def show_claimed() -> None:
        show.show_neurons(neurons, title, none="")
        claims.show_counts(query.claimed(store, **asked), read_evidence(score), arguments.level)

    _answer(arguments, neurons, neurons, show_claimed)


def neuron(arguments: Arguments) -> None:
    """`vxstore neuron`"""
    store = _open(arguments.store)
    about = query.neuron(store, arguments.layer, arguments.neuron, score=arguments.score)
    if arguments.clusters or arguments.format == "json":
        about["clusters"] = query.clusters(store, arguments.layer, arguments.neuron)
    if arguments.clusters:
        table = about["clusters"]
        _answer(arguments, about, table, lambda: claims.show_clusters(about))
        return
    table = about["values"]
    if "claims" in about:
        known = [name for name in about["claims"] if name not in table or name in KEYS]
        table = table.merge(about["claims"][known], on=KEYS, how="left")
    for name in ("languages", "rivals"):
        if name in about:
            table = table.merge(about[name], on="language", how="left")
    _answer(arguments, about, table, lambda: tables.show_neuron(about))


def null(arguments: Arguments) -> None:
    """`vxstore null`"""
    found = query.null(_open(arguments.store), score=arguments.score)
    _answer(arguments, found, found["levels"], lambda: claims.show_null(found))


def layers(arguments: Arguments) -> None:
    """`vxstore layers`"""
    store = _open(arguments.store)
    score = query.open_score(store, arguments.score).name
    found = query.layers(store, language=arguments.language, score=score)
    title = f"neurons selected by {score}"
    _answer(arguments, found, found, lambda: tables.show_layers(found, title))


def compare(arguments: Arguments) -> None:
    """`vxstore compare`"""
    comparison = query.compare(
        _open(arguments.store),
        _open(arguments.other),
        score=arguments.score,
        score_b=arguments.score_b,
    )
    ranking = comparison["ranking"]
    keys = [name for name in ("language", "value") if name in ranking]
    table = comparison["selection"].merge(ranking, on=keys)
    _answer(arguments, comparison, table, lambda: tables.show_comparison(comparison))


def effects(arguments: Arguments) -> None:
    """`vxstore effects`"""
    stores = [_open(path) for path in (arguments.store, arguments.other) if path is not None]
    answers = gather(
        find_evaluations(stores, arguments.evaluation),
        {key: getattr(arguments, key) for key in ("value", "mask", "language", "own")},
        dilemmas=arguments.dilemmas,
        corpus=arguments.corpus,
    )
    show_it = flip_tables.show_flips if arguments.dilemmas else effect_tables.show_effects
    _answer(arguments, answers, make_flat(answers), lambda: show_it(answers))


def answers(arguments: Arguments) -> None:
    """`vxstore answers`"""
    found = query.answers(
        _open(arguments.store),
        arguments.evaluation,
        value=arguments.value,
        language=arguments.language,
    )
    if arguments.value is not None:
        found = found[found["mask"].isin(["", arguments.value])]
    _answer(arguments, found, found, lambda: show.show_answers(found))


def doses(arguments: Arguments) -> None:
    """`vxstore doses`"""
    store = _open(arguments.store)
    chosen = {"mask": arguments.mask, "language": arguments.language, "own": not arguments.all}
    names = dict.fromkeys(arguments.evaluation or [None])
    answers = [query.doses(store, name, **chosen) for name in names]
    table = dose_tables.make_flat(answers)
    _answer(arguments, answers, table, lambda: dose_tables.show_doses(answers))


def select(arguments: Arguments) -> None:
    """`vxstore select`"""
    store = _open(arguments.store)
    with hold(arguments.store, take_over=arguments.take_over):
        made = call(
            "select",
            store,
            arguments.name,
            base=arguments.base,
            kind=arguments.selector,
            options=arguments.options,
        )
    flat = pd.DataFrame([{"language": g, **of} for g, of in made["thresholds"].items()])
    _answer(arguments, made, flat, lambda: show.show_score(made))


def export(arguments: Arguments) -> None:
    """`vxstore export`"""
    count = query.export(
        _open(arguments.store),
        arguments.out,
        what=arguments.what,
        score=arguments.score,
        evaluation=arguments.evaluation,
        values=arguments.value,
        languages=arguments.language,
        force=arguments.force,
    )
    written = {"out": arguments.out, "what": arguments.what, "count": count}
    is_mask = arguments.out.lower().endswith(".json")
    unit = f"{plural(count, 'neuron')}, in masks" if is_mask else plural(count, "row")
    text = f"{arguments.out}: {unit}"
    _answer(arguments, written, pd.DataFrame([written]), lambda: print(clean(text)))


def check(arguments: Arguments) -> None:
    """`vxstore check`; raises StoreError if something is damaged and not repaired."""
    path = arguments.store
    with layer_progress("checking") as advance:
        report = check_store(path, advance)
    done = []
    if arguments.repair and report.findings:
        done = repair(path, report, take_over=arguments.take_over)
    elif arguments.repair:
        tidy(path)
    answer = {"store": path, **dataclasses.asdict(report), "repaired": done}
    table = pd.DataFrame(answer["findings"], columns=["array", "part", "what", "fix"])
    _answer(arguments, answer, table, lambda: tables.show_check(answer))
    if report.findings and not done:
        raise StoreError(f"{path} is damaged: {describe_findings(report)}")


def _open(path: str) -> Store:
    try:
        return open_store(path)
    except (OSError, ImportError) as error:  # no permission; a URL whose package is missing
        raise StoreError(f"cannot open {path}: {error}") from error


def _answer(
    arguments: Arguments, answer: Any, table: pd.DataFrame, show_answer: Callable[[], None]
) -> None:
    """Print `answer` as JSON, `table` as CSV, or what `show_answer` prints for people."""
    if arguments.format == "json":
        output.print_json(answer)
    elif arguments.format == "csv":
        output.print_csv_table(table)
    else:
        show_answer()

"""What each `vxstore` command does: it asks a query, and prints the answer as was asked for."""

import argparse
import dataclasses
from collections.abc import Callable
from typing import Any

import pandas as pd

from vxstore import query
from vxstore.check.store import check as check_store
from vxstore.check.store import describe_findings, repair
from vxstore.cli import effect_tables, output, show, tables
from vxstore.cli.effects import find_evaluations, gather, make_flat
from vxstore.cli.pipeline import call
from vxstore.cli.progress import layer_progress
from vxstore.errors import StoreError
from vxstore.io.lock import hold
from vxstore.read import Store, open_store
from vxstore.text import clean

Arguments = argparse.Namespace


def info(arguments: Arguments) -> None:
    """`vxstore info`"""
    about = query.describe(_open(arguments.store))
    if arguments.format == "csv":
        output.print_csv(("field", "value", "language", "content"), show.facts(about))
    else:
        _answer(arguments, about, pd.DataFrame(), lambda: show.show_info(about))


def top(arguments: Arguments) -> None:
    """`vxstore top`"""
    neurons = query.top(
        _open(arguments.store),
        value=arguments.value,
        language=arguments.language,
        k=arguments.k,
        score=arguments.score,
    )
    rows = [{str(name): item for name, item in row.items()} for row in neurons.to_dict("records")]
    whose = f"neurons of {arguments.value}" if arguments.value else "selected neurons"
    title = f"{whose}, lowest {arguments.score} entropy first"
    _answer(arguments, neurons, neurons, lambda: show.show_neurons(rows, title))


def neuron(arguments: Arguments) -> None:
    """`vxstore neuron`"""
    told = query.neuron(
        _open(arguments.store), arguments.layer, arguments.neuron, score=arguments.score
    )
    flat = told["values"]
    if "languages" in told:
        flat = flat.merge(told["languages"], on="language", how="left")
    _answer(arguments, told, flat, lambda: tables.show_neuron(told))


def layers(arguments: Arguments) -> None:
    """`vxstore layers`"""
    found = query.layers(_open(arguments.store), language=arguments.language, score=arguments.score)
    title = f"neurons selected by {arguments.score}"
    _answer(arguments, found, found, lambda: tables.show_layers(found, title))


def compare(arguments: Arguments) -> None:
    """`vxstore compare`"""
    told = query.compare(
        _open(arguments.store),
        _open(arguments.other),
        score=arguments.score,
        score_b=arguments.score_b,
    )
    flat = told["selection"].merge(told["entropy"], on="language")
    _answer(arguments, told, flat, lambda: tables.show_comparison(told))


def effects(arguments: Arguments) -> None:
    """`vxstore effects`"""
    stores = [_open(path) for path in (arguments.store, arguments.other) if path is not None]
    answers = gather(
        find_evaluations(stores, arguments.evaluation),
        {key: getattr(arguments, key) for key in ("value", "mask", "language", "own")},
        dilemmas=arguments.dilemmas,
        corpus=arguments.corpus,
    )
    show_it = effect_tables.show_flips if arguments.dilemmas else effect_tables.show_effects
    _answer(arguments, answers, make_flat(answers), lambda: show_it(answers))


def select(arguments: Arguments) -> None:
    """`vxstore select`"""
    store = _open(arguments.store)
    with hold(arguments.store, take_over=arguments.take_over):
        told = call(
            "select",
            store,
            arguments.name,
            base=arguments.base,
            kind=arguments.selector,
            options=arguments.options,
        )
    flat = pd.DataFrame([{"language": g, **of} for g, of in told["thresholds"].items()])
    _answer(arguments, told, flat, lambda: show.show_score(told))


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
    told = {"out": arguments.out, "what": arguments.what, "count": count}
    unit = "neurons, in masks" if arguments.out.lower().endswith(".json") else "rows"
    text = f"{arguments.out}: {count:,} {unit}"
    _answer(arguments, told, pd.DataFrame([told]), lambda: print(clean(text)))


def check(arguments: Arguments) -> None:
    """`vxstore check`; raises StoreError if something is damaged and not repaired."""
    path = arguments.store
    with layer_progress("checking") as advance:
        report = check_store(path, advance)
    done = []
    if arguments.repair and report.findings:
        done = repair(path, report, take_over=arguments.take_over)
    told = {"store": path, **dataclasses.asdict(report), "repaired": done}
    flat = pd.DataFrame(told["findings"], columns=["array", "part", "what", "mend"])
    _answer(arguments, told, flat, lambda: tables.show_check(told))
    if report.findings and not done:
        raise StoreError(f"{path} is damaged: {describe_findings(report)}")


def _open(path: str) -> Store:
    try:
        return open_store(path)
    except (OSError, ImportError) as error:  # no permission; a URL whose package is missing
        raise StoreError(f"cannot open {path}: {error}") from error


def _answer(
    arguments: Arguments, told: Any, flat: pd.DataFrame, show_it: Callable[[], None]
) -> None:
    """`told` as JSON, `flat` as CSV, or a table for people."""
    if arguments.format == "json":
        output.print_json(told)
    elif arguments.format == "csv":
        output.print_csv_table(flat)
    else:
        show_it()

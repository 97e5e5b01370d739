"""CONTRIBUTING.md sends people to files that are there, and to names that are in them."""

import importlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
TASKS = re.findall(r"^\| (an? [^|]+) \|(.+)\|$", PAGE, re.MULTILINE)
PATH = re.compile(r"`((?:vxdist|store|tests|launch)/[^`]*)`")
NAMED = re.compile(r"`([A-Za-z_]+)` in `([^`]+)`")


def test_all_tasks_are_found() -> None:
    assert len(TASKS) >= 11


@pytest.mark.parametrize(("task", "files"), TASKS, ids=[task for task, _ in TASKS])
def test_files_are_there(task: str, files: str) -> None:
    found = PATH.findall(files)
    assert found, task
    for path in found:
        folder, _, name = path.rpartition("/")
        # NAME is for the file to be written: its folder is there, and its like.
        there = ROOT / folder if name == "NAME.py" else ROOT / path
        assert there.exists(), path


@pytest.mark.parametrize(("name", "path"), NAMED.findall(PAGE))
def test_names_are_in_the_files(name: str, path: str) -> None:
    text = (ROOT / path).read_text(encoding="utf-8")
    assert re.search(rf"^(def {name}\(|{name}\b.* = )", text, re.MULTILINE), f"{name} in {path}"


@pytest.mark.parametrize(
    "table",
    [
        "vxdist.reduce.selectors:SELECTORS",
        "vxdist.asking.outcomes:OUTCOMES",
        "vxdist.hooks.interventions:INTERVENTIONS",
        "vxdist.hooks.measures:MEASURES",
        "vxdist.report.sections:SECTIONS",
        "vxdist.report.sections:SELECTOR_NOTES",
        "vxdist.report.sections:OUTCOME_NOTES",
    ],
)
def test_what_the_tables_name_can_be_imported(table: str) -> None:
    module, _, name = table.partition(":")
    for where in getattr(importlib.import_module(module), name).values():
        component, _, attribute = where.partition(":")
        assert hasattr(importlib.import_module(component), attribute), where


def test_layers_are_those_of_the_import_contracts() -> None:
    contracts = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    for name in ("runtime", "hooks", "model", "plan", "corpus", "stats", "estimate", "locate"):
        assert f"vxdist/{name}/" in PAGE or f"`{name}/`" in PAGE, name
        assert f"vxdist.{name}" in contracts, name

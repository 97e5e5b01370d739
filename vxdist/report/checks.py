"""Checks of report's settings, and of where the page is to be written."""

from collections.abc import Sequence
from pathlib import Path

from vxdist.config import Config
from vxdist.corpus import Corpus
from vxdist.errors import UserError
from vxstore.identity import holds_store
from vxstore.io.storage import is_url
from vxstore.read import open_store

GENERATOR, HEAD_BYTES = b'<meta name="generator" content="vxdist ', 4096
"""In the head of every report, and how far it is looked for."""


def check_settings(config: Config, corpus: Corpus | None) -> None:
    """Raise UserError, naming the setting, if one is out of range."""
    if config.report.top_neurons < 1:
        raise UserError(
            f"report.top_neurons: found {config.report.top_neurons}, expected at least 1"
        )


def check_inputs(config: Config, corpus: Corpus | None, stages: Sequence[str]) -> None:
    """Raise UserError if no file can be made where the page is to be written, or nothing makes
    what it is to show.

    `stages` are those of this run: what they will make is not looked for in the store.
    """
    path = report_path(config)
    if path.is_dir():
        raise UserError(f"report.path: {path} is a folder; name the HTML file to write")
    above = next(folder for folder in path.absolute().parents if folder.exists())
    if not above.is_dir():
        raise UserError(f"report.path: {path}: {above} is not a folder; name another file")
    if path.is_file() and not is_report(path):
        raise UserError(
            f"report.path: {path} is there, and is no report of vxdist; name another "
            "file, or move it"
        )
    evaluations = list(config.evaluation_names.values())
    for stage, key, asked, made, kind in (
        ("reduce", "score", config.report.score, [config.score_name], "scores"),
        ("evaluate", "evaluation", config.report.evaluation, evaluations, "evaluation"),
    ):
        if stage in stages and asked not in (None, *made):
            known = open_store(config.store).names(kind) if holds_store(config.store) else []
            if asked not in known:
                raise UserError(
                    f"report.{key}: this run makes the {key} {' and '.join(made)}, and "
                    f"{config.store} has none named {asked!r}; name one of these, or leave it out"
                )


def is_report(path: Path) -> bool:
    """Whether a file is a report that vxdist wrote, by what its head says."""
    with path.open("rb") as opened:
        return GENERATOR in opened.read(HEAD_BYTES)


def report_path(config: Config) -> Path:
    """The file of the report: `report.path`, or one beside the store.

    Raises UserError if the store is a URL and `report.path` is not given.
    """
    if config.report.path is not None:
        return Path(config.report.path)
    if is_url(config.store):
        raise UserError(f"report.path: {config.store} is a URL; name the HTML file to write")
    return Path(config.store.rstrip("/").removesuffix(".zarr") + ".html")

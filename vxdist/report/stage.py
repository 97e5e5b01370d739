"""The report stage: a store in, one HTML file out. Needs no model and no torch."""

from pathlib import Path

from vxdist.config import Config
from vxdist.errors import UserError
from vxdist.output import Output
from vxdist.ranks import is_first_rank
from vxdist.report.checks import report_path
from vxdist.report.content import gather
from vxdist.report.page import render
from vxstore.io.scratch import write_whole


def run(config: Config, output: Output) -> None:
    """Write the report of a store, from rank 0, and print its path.

    Raises UserError if the store, or the score or evaluation asked for, is missing, or the file
    cannot be written.
    """
    if not is_first_rank():
        return
    path = report_path(config)
    page = render(gather(config))
    _write(path, page)
    output.say(f"report: {path}")


def _write(path: Path, page: str) -> None:
    """Write under another name, then rename, so that nobody reads half a page."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with write_whole(path) as partial:
            partial.write_text(page, encoding="utf-8")
    except OSError as error:
        raise UserError(f"report.path: {path}: {error.strerror}; name another file") from error

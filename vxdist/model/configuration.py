"""Reading a model's configuration with transformers, whose warnings and errors become one line."""

import contextlib
from collections.abc import Iterator
from typing import Any

from transformers import AutoConfig
from transformers.utils import logging

from vxdist.errors import UserError
from vxdist.model.source import ModelSource


def read_config(source: ModelSource) -> Any:
    """The configuration. Raises UserError if transformers cannot use it."""
    try:
        return AutoConfig.from_pretrained(source.directory, trust_remote_code=source.own_code)
    except Exception as error:
        told = f"model.path: cannot use the config.json of {source.name}: {line_of(error)}"
        raise UserError(told) from error


def line_of(error: BaseException) -> str:
    """An error as one line, with its type where the text alone says little."""
    text = " ".join(str(error).split())[:200]
    return text if isinstance(error, OSError | ValueError) else f"{type(error).__name__}: {text}"


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Turn off the progress bars and warnings of transformers."""
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()

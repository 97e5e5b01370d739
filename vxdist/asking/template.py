"""A model's chat template, which is another's code: what it may do, and what it takes.

transformers runs it in Jinja's sandbox, which keeps it from files and from Python's inside, but
neither from running without end nor from filling memory.
"""

import contextlib
import datetime
import inspect
import re
from collections.abc import Iterator
from typing import Any

from vxdist.errors import UserError
from vxdist.limits import limited

GIVEN = ("messages", "add_generation_prompt", "raise_exception", "strftime_now", "namespace")
"""What a chat template takes from outside, beside the arguments that a user may give."""
SECONDS, LONGEST = 10, 1_000_000
"""For one question; characters that a template may add to it."""


def in_bounds() -> contextlib.AbstractContextManager[None]:
    """Within, a template is compiled or run. Raises UserError if it takes too long, or too much."""
    return limited("model.path: its chat template", seconds=SECONDS)


def check_operations(template: str) -> None:
    """Refuse powers, which take for ever in a single step that no clock interrupts.

    Raises UserError; no template of a released model has any.
    """
    from jinja2 import nodes

    parsed = _parse(template)
    powers = next(parsed.find_all(nodes.Pow), None)
    rounded = any(
        of.name == "round" and (of.args or of.kwargs) for of in parsed.find_all(nodes.Filter)
    )
    if powers is not None or rounded:
        raise UserError(
            f"model.path: its chat template computes {'powers' if powers else 'digits of a number'}"
            ", which may never end; use evaluate.chat never"
        )


def _parse(template: str) -> Any:
    from jinja2 import Environment

    # `generation` is a tag of transformers' own, around what an assistant says.
    plain = re.sub(r"{%-?\s*(end)?generation\s*-?%}", "", template)
    return Environment(extensions=["jinja2.ext.loopcontrols"]).parse(plain)


def check_arguments(template: str, arguments: dict[str, Any]) -> None:
    """Raise UserError if an argument has no effect in the template, or is not the user's to give.

    A name that a template does not use is passed over by it without a word.
    """
    from transformers import PreTrainedTokenizerBase

    own = inspect.signature(PreTrainedTokenizerBase.apply_chat_template).parameters
    for name in arguments:
        if name == "messages" or (name in own and name not in ("tools", "documents")):
            raise UserError(f"evaluate.template: {name} is set by vxdist; omit it")
        if name not in variables(template):
            raise UserError(
                f"evaluate.template: the chat template of the model does not use {name!r}; it uses "
                f"{', '.join(variables(template)) or 'no arguments'}"
            )


def variables(template: str) -> list[str]:
    """What a template takes from outside, beside what vxdist and transformers give it, by name."""
    from jinja2 import meta

    found = meta.find_undeclared_variables(_parse(template))
    return sorted(name for name in found if name not in GIVEN and not name.endswith("_token"))


@contextlib.contextmanager
def clock_at(date: datetime.date) -> Iterator[None]:
    """What `strftime_now` of a chat template reads is the beginning of this day."""
    from transformers.utils import chat_template_utils

    class Still(datetime.datetime):
        @classmethod
        def now(cls, tz: datetime.tzinfo | None = None) -> "Still":
            return cls(date.year, date.month, date.day, tzinfo=tz)

    module: Any = chat_template_utils
    clock = module.datetime
    module.datetime = Still
    try:
        yield
    finally:
        module.datetime = clock

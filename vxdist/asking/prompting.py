"""From a question in words to the tokens that the model reads: chat template, system text, answer's
beginning, and the date that a template may ask for.

T: token.
"""

import contextlib
import datetime
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vxdist.asking.control_tokens import control_tokens, encode_quoting
from vxdist.asking.template import (
    LONGEST,
    check_arguments,
    check_operations,
    clock_at,
    in_bounds,
    variables,
)
from vxdist.config import EvaluateConfig
from vxdist.errors import UserError

CLOCK = "{{ strftime_now('%Y-%m-%dT%H:%M:%S') }}"
"""A chat template that tells the time."""
LLAMA_DATE = "%d %b %Y"
"""How the templates of Llama 3 write their argument `date_string`."""
SHOWN = 160
"""Characters of another's error message that are shown."""


@dataclass(frozen=True, kw_only=True)
class Today:
    """The date that a chat template sees. `given` by evaluate.date, it is also the argument
    `date_string`; otherwise a template keeps its own default for that."""

    date: datetime.date
    given: bool


class Prompter:
    """Makes prompts for one tokenizer, as the settings of evaluate say."""

    def __init__(self, tokenizer: Any, settings: EvaluateConfig, today: Today) -> None:
        """Raises UserError if a setting needs a chat template, or does not suit it."""
        self.tokenizer = tokenizer
        self._settings, self._today = settings, today
        self._template: str | None = None
        if settings.chat != "never" and tokenizer.chat_template:
            with self._reporting():
                self._template = tokenizer.get_chat_template()
        self._check()
        self._controls = control_tokens(tokenizer, self._template or "")

    @property
    def uses_template(self) -> bool:
        """Whether questions go through a chat template."""
        return self._template is not None

    def encode(
        self, text: str, language: str, *, quoted: Sequence[str] = (), cue: str = ""
    ) -> NDArray[np.int32]:
        """The prompt of a question `text`, as token ids (T,); the answer is the next token.

        `quoted` are the parts of the text that come from the corpus: a control token that they
        spell is encoded as text. `cue` follows the question. Raises UserError if the chat template
        fails, or leaves out the text.
        """
        text += cue
        shown = text if self._template is None else self._render(text)
        shown += self._prefix(language)
        ids = encode_quoting(
            self.tokenizer, shown, text, quoted, self._controls, begins=not self.uses_template
        )
        return np.asarray(ids, dtype=np.int32)

    def encode_answer(
        self, text: str, language: str, answer: str, *, quoted: Sequence[str] = (), cue: str = ""
    ) -> tuple[NDArray[np.int32], int]:
        """The prompt of a question with an answer behind it, as token ids (T,), and the number of
        the answer's first token: the first that is not that of the prompt alone.

        A blank comes between them where the answer begins with a word of ASCII letters, and the
        prompt does not end with white space. Raises UserError as `encode` does.
        """
        answer, text = answer.strip(), text + cue
        shown = text if self._template is None else self._render(text)
        shown += self._prefix(language)
        blank = " " if answer[:1].isascii() and not shown[-1:].isspace() else ""
        whole = f"{shown}{blank}{answer}"
        begins = not self.uses_template
        alone = encode_quoting(self.tokenizer, shown, text, quoted, self._controls, begins=begins)
        ids = encode_quoting(
            self.tokenizer,
            whole,
            whole[whole.rindex(text.strip()) :],
            (*quoted, answer),
            self._controls,
            begins=begins,
        )
        pairs = zip(alone, ids, strict=False)
        first = next((n for n, (a, b) in enumerate(pairs) if a != b), min(len(alone), len(ids)))
        if first == 0:
            raise UserError(
                "model.path: its tokenizer joins the beginning of the prompt with the answer; give "
                "a longer prompt"
            )
        return np.asarray(ids, dtype=np.int32), first

    def show(self, token_ids_T: NDArray[np.int32]) -> str:
        """A prompt as the model reads it, control tokens included."""
        text: str = self.tokenizer.decode(
            token_ids_T.tolist(), skip_special_tokens=False, clean_up_tokenization_spaces=False
        )
        return text

    def remedies(self) -> list[str]:
        """The settings that change what the model reads before it answers, with what they do."""
        found = ["evaluate.answer_prefix (such as 'Answer:', or '</think>\\n\\n' after thinking)"]
        if self._template is None:
            return found
        switches = [name for name in variables(self._template) if "think" in name]
        found = [f"evaluate.template {{{name}: false}} (no thinking)" for name in switches] + found
        return [*found, "evaluate.chat never (for a base model)", "evaluate.system"]

    def _prefix(self, language: str) -> str:
        prefix = self._settings.answer_prefix
        if not isinstance(prefix, dict):
            return prefix or ""
        if language not in prefix:
            raise UserError(
                f"evaluate.answer_prefix: none for language {language!r}; add one, or give one "
                "text for all languages"
            )
        return prefix[language]

    def _check(self) -> None:
        settings = self._settings
        if self._template is None:
            given = {"system": settings.system is not None, "template": bool(settings.template)}
            why = "evaluate.chat is never" if settings.chat == "never" else "the model has none"
            for key in (key for key, is_given in given.items() if is_given):
                raise UserError(f"evaluate.{key}: it needs a chat template, and {why}; omit it")
            return
        with self._reporting(), in_bounds():
            check_operations(self._template)
            check_arguments(self._template, settings.template)
        if "strftime_now" in self._template:
            with self._reporting():
                told = self._apply([{"role": "user", "content": ""}], chat_template=CLOCK)
            if told != f"{self._today.date.isoformat()}T00:00:00":
                raise UserError(
                    "transformers: chat templates of this version read the time from elsewhere; "
                    "install the version in constraints.txt"
                )

    def _render(self, text: str) -> str:
        """The chat up to where the model answers."""
        chat = [{"role": "user", "content": text}]
        if self._settings.system is None:
            with self._reporting():
                shown = self._apply(chat)
        else:
            shown = self._render_system(self._settings.system, chat)
        if text.strip() not in shown:
            raise UserError(
                "model.path: its chat template leaves out the question, or changes it; use "
                "evaluate.chat never"
            )
        return shown

    def _render_system(self, system: str, chat: Sequence[dict[str, str]]) -> str:
        """The chat with a system text before it, which some templates refuse or pass over."""
        told = "evaluate.system: the chat template of the model takes no system text"
        try:
            shown = self._apply([{"role": "system", "content": system}, *chat])
        except Exception as error:
            with self._reporting():  # a template that fails without it too has another fault
                self._apply(chat)
            raise UserError(f"{told} ({_shorten(error)}); omit it") from error
        if system.strip() not in shown:
            raise UserError(f"{told}: it leaves it out; omit it")
        return shown

    def _apply(self, chat: Sequence[dict[str, str]], **settings: Any) -> str:
        arguments = dict(self._settings.template)
        if self._today.given:
            arguments.setdefault("date_string", self._today.date.strftime(LLAMA_DATE))
        with in_bounds(), clock_at(self._today.date):
            shown: str = self.tokenizer.apply_chat_template(
                list(chat), add_generation_prompt=True, tokenize=False, **arguments, **settings
            )
        if len(shown) > LONGEST + sum(len(turn["content"]) for turn in chat):
            raise UserError(
                f"model.path: its chat template makes {len(shown):,} characters of a question; use "
                "evaluate.chat never"
            )
        return shown

    @contextlib.contextmanager
    def _reporting(self) -> Iterator[None]:
        """A template is another's code: whatever it raises is told in one line."""
        try:
            yield
        except UserError:
            raise
        except Exception as error:
            raise UserError(
                f"model.path: its chat template fails ({_shorten(error)}); give it what it needs "
                "with evaluate.system or evaluate.template, or use evaluate.chat never"
            ) from error


def _shorten(error: Exception) -> str:
    text = " ".join(f"{type(error).__name__}: {error}".split())
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 1]}…"

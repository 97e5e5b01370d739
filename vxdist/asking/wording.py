"""The question in words, as the settings of an outcome give it by language."""

from collections.abc import Mapping, Sequence

from vxdist.errors import UserError


def find_prompt(
    outcome: str, prompts: Mapping[str, str], language: str, fields: Sequence[str]
) -> str:
    """The prompt of a language. Raises UserError if there is none, or it lacks a field."""
    key = f"evaluate.{outcome}.prompts"
    prompt = prompts.get(language)
    if prompt is None:
        raise UserError(f"{key}: none for language {language!r}; add one with {', '.join(fields)}")
    for name in fields:
        if name not in prompt:
            raise UserError(f"{key}.{language}: {name} is missing from it")
    return prompt


def find_cue(outcome: str, cues: Mapping[str, str], language: str) -> str:
    """What follows the prompt where there is no chat template. Raises UserError without one."""
    cue = cues.get(language)
    if cue is None:
        raise UserError(f"evaluate.{outcome}.cues: none for language {language!r}; add one")
    return f"\n\n{cue}"


def refuse_longer(what: str, tokens: int, most: int | None) -> None:
    """Raise UserError if a text of so many tokens is longer than the model reads."""
    if most is not None and tokens > most:
        raise UserError(
            f"{what} has {tokens} tokens, more than the model's {most}; shorten or remove it"
        )

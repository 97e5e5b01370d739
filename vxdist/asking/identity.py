"""What decides the questions, as attributes: a resume must agree in all of it."""

import datetime
import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from vxdist.asking.checks import read_date
from vxdist.asking.outcomes import Question
from vxdist.asking.prompting import Today
from vxdist.config import AttributeConfig, Config, EvaluateConfig
from vxdist.errors import UserError


def describe_asking(settings: EvaluateConfig) -> dict[str, Any]:
    """How the model is asked. Mappings that are compared whole are kept as JSON."""
    return {
        "chat": settings.chat,
        "template": _as_json(settings.template),
        "system": settings.system,
        "answer_prefix": _as_json(settings.answer_prefix),
    }


def describe_batches(
    config: Config, settings: AttributeConfig | EvaluateConfig
) -> dict[str, dict[str, float]]:
    """How questions are put into batches, where numbers depend on it: those of 16 bits do on what a
    question shares its batch with."""
    if config.model.dtype == "float32":
        return {}
    keys = ("tokens_per_batch", "max_padding")
    return {"batches": {key: getattr(settings, key) for key in keys}}


def choose_today(config: Config, kept: Mapping[str, Any]) -> Today:
    """The date that chat templates see: that of the settings, or of the group if it was begun
    (`kept` are its attributes), or else today's, UTC."""
    if config.evaluate.date is not None:
        return Today(date=read_date(config.evaluate.date), given=True)
    if isinstance(kept.get("date"), str):
        was_given = kept.get("config", {}).get("evaluate", {}).get("date") is not None
        return Today(date=read_date(kept["date"]), given=was_given)
    return Today(date=datetime.datetime.now(datetime.UTC).date(), given=False)


def digest_questions(questions: Sequence[Question]) -> str:
    """SHA-256 of all that the model reads, and of the tokens that are its answers."""
    digest = hashlib.sha256()
    for question in questions:
        ids = question.token_ids_T.tolist()
        whole = [question.language, list(question.at), ids, question.answers]
        digest.update(json.dumps(whole).encode() + b"\n")
    return digest.hexdigest()


def refuse_others(kept: str | None, digest: str, key: str, what: str) -> None:
    """Raise UserError if the questions that `what` was begun with, by their digest, are others now.

    `key` is the setting that names it. None is the digest of an evaluation of an earlier version,
    which did not keep it.
    """
    if kept not in (None, digest):
        raise UserError(
            f"{key}: the model would read other questions now than when this {what} was "
            "begun: the tokenizer, its chat template, or the version of transformers is another "
            "(`vxstore info STORE --evaluation NAME` shows a prompt); restore it, or give another "
            "name"
        )


def _as_json(setting: Any) -> str:
    return json.dumps(setting, ensure_ascii=False, sort_keys=True)

"""How an evaluation asked the model: the settings of its prompts, and the first prompts."""

import json
from collections.abc import Mapping
from typing import Any

from vxstore.evaluation import begun_attrs
from vxstore.query.lookup import reading
from vxstore.read import Store

NAMES = ("outcome", "date", "questions_digest")
AS_JSON = ("template", "answer_prefix")
"""Settings that are kept as JSON, so that they are compared whole."""


def asked(store: Store, evaluation: str) -> dict[str, Any]:
    """How an evaluation, finished or only begun, asked the model.

    Keys: store, evaluation, settings (date: what chat templates saw as today; chat, template,
    system, answer_prefix; questions_digest, of all that the model reads) and prompts (the first one
    by language, control tokens included; empty in evaluations of earlier versions). Raises
    StoreError, listing the known ones, if there is no such evaluation.
    """
    with reading(store, f"evaluation/{evaluation}"):
        attrs = begun_attrs(store.path, evaluation)
    if not attrs:
        store.evaluation(evaluation)  # raises, listing the known ones
    asking, prompts = (attrs.get(key) for key in ("asking", "sample_prompts"))
    settings = {key: attrs[key] for key in NAMES if key in attrs}
    if isinstance(asking, Mapping):
        with reading(store, f"evaluation/{evaluation}"):
            settings |= {k: json.loads(v) if k in AS_JSON else v for k, v in asking.items()}
    return {
        "store": store.path,
        "evaluation": evaluation,
        "settings": settings,
        "prompts": dict(prompts) if isinstance(prompts, Mapping) else {},
    }

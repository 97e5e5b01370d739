"""Selecting again from recorded counts, as `vxstore select` does: other settings, another name."""

import dataclasses
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from vxdist.components import find_class, settings_of
from vxdist.errors import UserError
from vxdist.reduce.score import write_score
from vxdist.reduce.selectors import SELECTORS
from vxdist.reduce.testing import Testing
from vxdist.settings import parse_options
from vxstore.declared import find_selector
from vxstore.defaults import DEFAULT_SELECTOR
from vxstore.query.lookup import default_score, get_attrs
from vxstore.read import Store


def select(
    store: Store,
    name: str,
    *,
    base: str | None = None,
    kind: str | None = None,
    **options: Any,
) -> dict[str, Any]:
    """Write the score `name` with the settings of the score `base`, except for the `options`.

    `base` None is the only score of the store; `kind` is a selector, by default that of `base`.
    Settings that neither gives are the selector's defaults. Keys of the result: store, score,
    selector, settings, thresholds (by language). Asking for the same score again changes nothing.
    Open the store again to read the new score.

    Raises StoreError if the store is not complete, has no score `base`, or `name` is taken by
    other settings; UserError if a setting is unknown or out of range.
    """
    store.root()  # raises, saying how many parts are missing
    base, attrs, kind = _find_base(store, base, kind)
    component = find_class(SELECTORS, kind, "--selector")
    declared = settings_of(component)
    inherited = attrs.get("settings", {}) if kind == find_selector(attrs) else {}
    settings = None if declared is None else _settings(declared, base, inherited, options)
    for key, fixed in getattr(component, "fixed", {}).items():
        if inherited.get(key, fixed) != fixed:
            found = f"scores/{base} was made with {key} {inherited[key]}"
            print(f"note: {found}; {name} is made with {fixed}", file=sys.stderr)
    selector = component() if settings is None else component(settings)
    testing = Testing(**attrs.get("testing", {}))
    thresholds = write_score(store.path, name, selector, kind=kind, testing=testing)
    return {
        "store": store.path,
        "score": name,
        "selector": kind,
        "settings": {} if settings is None else dataclasses.asdict(settings),
        "thresholds": thresholds,
    }


def _find_base(
    store: Store, base: str | None, kind: str | None
) -> tuple[str | None, dict[str, Any], str]:
    """The score to take settings from (None if the store has none), its attributes, the selector.

    Raises StoreError if there is no score `base`, UserError if no selector is named or recorded.
    """
    if base is None and not _any_of(store, kind):
        return None, {}, kind or DEFAULT_SELECTOR
    base = base or default_score(store, kind or DEFAULT_SELECTOR)
    store.scores(base)  # raises, naming the known ones
    attrs = get_attrs(store, f"scores/{base}")
    return base, attrs, kind or _require_kind(store, base, find_selector(attrs))


def _any_of(store: Store, kind: str | None) -> bool:
    """Whether the store has a score of this selector; None is any selector."""
    made_by = (find_selector(get_attrs(store, f"scores/{n}")) for n in store.names("scores"))
    return any(kind is None or of == kind for of in made_by)


def _require_kind(store: Store, base: str, kind: str | None) -> str:
    """The selector of a score. Raises UserError if the score does not say."""
    if kind is None:
        raise UserError(
            f"{store.path}/scores/{base} does not name its selector; give one with --selector "
            f"({', '.join(SELECTORS)})"
        )
    return kind


def _settings(
    declared: type[Any],
    base: str | None,
    inherited: Mapping[str, Any],
    options: Mapping[str, Any],
) -> Any:
    known = [field.name for field in dataclasses.fields(declared)]
    for key in options:
        if key not in known:
            raise UserError(
                f"{key} is not a setting of this selector; there are {', '.join(known)}"
            )
    kept = {key: inherited[key] for key in known if key in inherited}
    missing = [key for key in known if key not in kept and key not in options]
    if base is not None and inherited and missing:
        print(
            f"note: scores/{base} does not record its {', '.join(missing)}; the default is used",
            file=sys.stderr,
        )
    return declared(**{**kept, **options})


def select_by_options(
    store: Store, name: str, *, base: str | None, kind: str | None, options: Sequence[str]
) -> dict[str, Any]:
    """`select`, with the settings as options of a command line: --top-fraction 0.001 ...

    Raises UserError if an option is unknown or its value cannot be read, and as `select` does.
    """
    base, _, asked = _find_base(store, base, kind)
    declared = settings_of(find_class(SELECTORS, asked, "--selector"))
    given = {} if declared is None else parse_options("vxstore select", declared, options)
    return select(store, name, base=base, kind=kind, **given)

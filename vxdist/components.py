"""Components chosen by name: selectors, outcomes and interventions.

A table is a dict literal, name to "module:Class". A class is imported when it is chosen, or when
its settings are needed, so modules of components import torch only within functions.
"""

import dataclasses
import importlib
from collections.abc import Mapping
from dataclasses import field
from typing import Any, TypeVar

from vxdist.errors import UserError

Table = Mapping[str, str]
Section = TypeVar("Section")


def find_table(location: str) -> Table:
    """The table at "module:NAME"."""
    table: Table = _import(location)
    return table


def find_class(table: Table, name: str, key: str) -> Any:
    """The class of the component `name`.

    Raises UserError, naming the setting `key` and the known names, if there is no such component.
    """
    if name not in table:
        raise UserError(f"{key}: found {name!r}, expected one of {', '.join(table)}")
    return _import(table[name])


def settings_of(component: Any) -> type[Any] | None:
    """The dataclass of a component's settings; None if it has none."""
    found: type[Any] | None = getattr(component, "Settings", None)
    return found


def compose(section: type[Section], tables: Mapping[str, Table]) -> type[Section]:
    """The dataclass `section` with an additional field for each component that has settings.

    `tables` maps each setting that chooses a component to the table it chooses from.
    """
    fields = []
    for key, table in tables.items():
        for name in table:
            settings = settings_of(find_class(table, name, key))
            if settings is not None:
                fields.append((name, settings, field(default_factory=settings)))
    composed = dataclasses.make_dataclass(
        section.__name__,
        fields,
        bases=(section,),
        kw_only=True,
        namespace={"__doc__": section.__doc__, "__module__": section.__module__},
    )
    return composed


def make_component(table: Table, name: str, section: Any, key: str) -> Any:
    """An instance of the component `name`, with its settings from `section`.

    Raises UserError, naming the setting `key`, if there is no such component.
    """
    component = find_class(table, name, key)
    settings = settings_of(component)
    if settings is None:
        return component()
    return component(getattr(section, name, None) or settings())


def _import(location: str) -> Any:
    module, _, name = location.partition(":")
    return getattr(importlib.import_module(module), name)

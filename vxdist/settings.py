"""Reading the configuration: YAML file, then the command line, into the dataclasses of `config`."""

import dataclasses
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar

from vxdist.arguments import explain, find_lists, read_yaml, spell_lists
from vxdist.config import Config
from vxdist.errors import UserError, find_near
from vxdist.ranks import is_first_rank

CONFIG_OPTIONS = ("config", "print_config", "help")
NOT_OURS = {
    "device_map": "vxdist places the model itself; for one too large for a device use "
    "trainer.strategy: zero3 (and trainer.offload), for a copy on each of several devices "
    "trainer.strategy: ddp",
}
"""What users of transformers look for, and what to use instead."""
MOVED = {
    **{
        f"reduce.{name}": f"reduce.vape.{name}"
        for name in (
            "filter_quantile",
            "top_fraction",
            "activation_quantile",
            "min_active_tokens",
        )
    },
    "evaluate.prompts": "evaluate.choice.prompts",
    "evaluate.cues": "evaluate.choice.cues",
}
"""Settings of earlier versions that have another name now."""
GONE = dict.fromkeys(
    ("reduce.vape.precision", "reduce.precision", "precision"),
    "probabilities and entropies are always float64, since float32 can exchange neurons at the "
    "cut; remove it",
)
"""Settings of earlier versions that are no more, and why."""
IGNORED = {
    "evaluate.bootstrap_resamples": "intervals are Student's t; nothing is resampled",
}
"""Settings of earlier versions that decide nothing any more, and why: with a notice they are passed
over, so that saved settings can be replayed."""


def parse(command: str, arguments: Sequence[str]) -> Config:
    """The settings of one command. Raises UserError naming the file or option and the key.

    With --help or --print_config it prints and exits.
    """
    parser = _make_parser(f"vxdist {command}", _DESCRIPTION)
    sections = _section_types()
    for name, section in sections.items():
        parser.add_class_arguments(section, name)
    parser.add_argument("--store", type=str, required=True, help="Path or URL of the store.")
    parser.add_argument(
        "--take_over",
        "--take-over",
        action="store_true",
        help="Write the store even though another run holds its lock: that run is over.",
    )
    known = {"store", "take_over", "take-over", *sections}
    for name, section in sections.items():
        known |= set(_keys(section, f"{name}."))
    found = _parse(parser, arguments, known, sections)
    return Config(**{f.name: found[f.name] for f in dataclasses.fields(Config)})


Section = TypeVar("Section")


def parse_section(
    command: str, name: str, kind: type[Section], arguments: Sequence[str]
) -> Section:
    """The settings of a command that has a section of its own, in a file and as options.

    Raises UserError naming the file or option and the key.
    """
    parser = _make_parser(f"vxdist {command}", None)
    parser.add_class_arguments(kind, name)
    known = {name, *_keys(kind, f"{name}.")}
    section: Section = _parse(parser, arguments, known, {name: kind})[name]
    return section


def parse_options(command: str, kind: type[Any], arguments: Sequence[str]) -> dict[str, Any]:
    """The fields of the dataclass `kind` that are given as options, as in --top-fraction 0.1.

    Raises UserError naming the option if it is unknown or its value cannot be read.
    """
    parser = _make_parser(command, None)
    parser.add_class_arguments(kind)
    underscored = [_underscored(argument) for argument in arguments]
    found = _parse(parser, underscored, set(_keys(kind, "")), {"": kind})
    given = {word[2:].partition("=")[0] for word in underscored if word.startswith("--")}
    return {key: found[key] for key in _keys(kind, "") if key in given}


def _underscored(argument: str) -> str:
    if not argument.startswith("--"):
        return argument
    name, equals, setting = argument[2:].partition("=")
    return f"--{name.replace('-', '_')}{equals}{setting}"


def load_config(file: str | os.PathLike[str] | None, overrides: Mapping[str, Any] | None) -> Config:
    """A YAML file, and settings with dotted keys that replace those of the file.

    Raises UserError naming the file or the key.
    """
    arguments = [] if file is None else ["--config", os.fspath(file)]
    for key, setting in (overrides or {}).items():
        arguments.append(f"--{key}={_as_argument(setting)}")
    return parse("run", arguments)


def _as_argument(setting: Any) -> str:
    if isinstance(setting, str):
        return setting
    return json.dumps(setting, ensure_ascii=False)


_DESCRIPTION = "All stages read the same file; each uses its own sections."


def _make_parser(command: str, description: str | None) -> Any:
    from jsonargparse import ArgumentParser, set_parsing_settings

    set_parsing_settings(docstring_parse_attribute_docstrings=True)
    parser = ArgumentParser(prog=command, description=description, exit_on_error=False)
    parser.add_argument("--config", action="config", help="YAML file with any of these settings.")
    return parser


def _parse(
    parser: Any, arguments: Sequence[str], known: set[str], sections: Mapping[str, type[Any]]
) -> Any:
    """Parse with `parser`. `sections` are the dataclasses by the first word of their keys."""
    from jsonargparse import ArgumentError

    dotted = {f"{name}." if name else "": kind for name, kind in sections.items()}
    mappings = [key for prefix, kind in dotted.items() for key in _mappings(kind, prefix)]
    lists = [key for prefix, kind in dotted.items() for key in find_lists(kind, prefix)]
    contents = _check_options(arguments, known, mappings)
    spelled = spell_lists(arguments, {f: _current(f, c) for f, c in contents.items()}, lists)
    try:
        return parser.instantiate(parser.parse_args(spelled))
    except ArgumentError as error:
        raise UserError(explain(str(error), contents, arguments)) from error


def _section_types() -> dict[str, type[Any]]:
    """The sections of a configuration, with the settings of all components."""
    made = Config()
    sections = {f.name: type(getattr(made, f.name)) for f in dataclasses.fields(Config)}
    return {name: kind for name, kind in sections.items() if dataclasses.is_dataclass(kind)}


def _mappings(kind: type[Any], prefix: str) -> Iterator[str]:
    """Settings that hold a mapping with keys of the user's own."""
    for item in dataclasses.fields(kind):
        name = prefix + item.name
        if isinstance(item.type, type) and dataclasses.is_dataclass(item.type):
            yield from _mappings(item.type, f"{name}.")
        elif "dict" in str(item.type):
            yield name


def _check_options(
    arguments: Sequence[str], known: set[str], mappings: Sequence[str]
) -> dict[str, dict[Any, Any]]:
    """Refuse unknown keys, in a file or on the command line; returns the contents of the files.

    `mappings` are settings whose keys are the user's own.
    """
    files = []
    for n, argument in enumerate(arguments):
        if not argument.startswith("--"):
            continue
        key, has_value, value = argument[2:].partition("=")
        if key == "config":
            files.append(value if has_value else next(iter(arguments[n + 1 : n + 2]), ""))
        elif key.split("+")[0] not in known | set(CONFIG_OPTIONS) and not _is_open(key, mappings):
            raise UserError(_unknown(f"option --{key}", key, known))
    contents = {file: read_yaml(file) for file in files}
    for file, content in contents.items():
        for key in _walk(content, ""):
            if key not in known and not _is_open(key, mappings) and key not in IGNORED:
                raise UserError(_unknown(f"{file}: key {key}", key, known))
    return contents


def _current(file: str, content: dict[Any, Any]) -> dict[Any, Any]:
    """The content of a file without what decides nothing any more; says what it leaves out."""
    for key in [key for key in _walk(content, "") if key in IGNORED]:
        section, _, name = key.rpartition(".")
        rest = {k: setting for k, setting in content[section].items() if k != name}
        content = {**content, section: rest}
        if is_first_rank():
            print(f"note: {file}: key {key} is ignored: {IGNORED[key]}", file=sys.stderr)
    return content


def _unknown(what: str, key: str, known: set[str]) -> str:
    if (moved := MOVED.get(key)) in known:
        return f"{what} is called {moved} now; rename it"
    name = key.rpartition(".")[2]
    if name in NOT_OURS:
        return f"{what} is not a setting: {NOT_OURS[name]}"
    if (reason := GONE.get(key) or IGNORED.get(key)) is not None:
        return f"{what} is no longer a setting: {reason}"
    near = find_near(key, known)
    hint = f"did you mean {near}?" if near else "--help lists all settings"
    return f"{what} is not known; {hint}"


def _is_open(key: str, mappings: Sequence[str]) -> bool:
    return any(key.startswith(f"{name}.") for name in mappings)


def _keys(kind: Any, prefix: str) -> Iterator[str]:
    """All keys of a dataclass, dotted, sections included."""
    for item in dataclasses.fields(kind):
        yield prefix + item.name
        if dataclasses.is_dataclass(item.type):
            yield from _keys(item.type, f"{prefix}{item.name}.")


def _walk(mapping: dict[Any, Any], prefix: str) -> Iterator[str]:
    for key, value in mapping.items():
        yield f"{prefix}{key}"
        if isinstance(value, dict):
            yield from _walk(value, f"{prefix}{key}.")

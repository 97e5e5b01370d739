"""Reading the configuration: YAML file, then the command line, into the dataclasses of `config`."""

import dataclasses
import difflib
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import yaml

from vxdist.config import Config
from vxdist.errors import UserError
from vxdist.ranks import is_first_rank
from vxstore.io.storage import beside

OPEN_KEYS = ("evaluate.prompts", "evaluate.cues")
"""Settings that hold a mapping with keys of the user's own."""
CONFIG_OPTIONS = ("config", "print_config", "help")
NOT_OURS = {
    "device_map": "vxdist places the model itself; for one too large for a device use "
    "trainer.strategy: zero3 (and trainer.offload), for a copy on each of several devices "
    "trainer.strategy: ddp",
}
"""What users of transformers look for, and what to use instead."""


def parse(command: str, arguments: Sequence[str]) -> Config:
    """The settings of one command. Raises UserError naming the file or option and the key.

    With --help or --print_config it prints and exits.
    """
    from jsonargparse import ArgumentError, ArgumentParser, set_parsing_settings

    set_parsing_settings(docstring_parse_attribute_docstrings=True)
    _check_options(arguments, {*_keys(Config), "take-over"}, OPEN_KEYS)
    parser = ArgumentParser(prog=f"vxdist {command}", description=_DESCRIPTION, exit_on_error=False)
    parser.add_argument("--config", action="config", help="YAML file with any of these settings.")
    for section in dataclasses.fields(Config):
        if dataclasses.is_dataclass(section.type):
            assert isinstance(section.type, type)
            parser.add_class_arguments(section.type, section.name)
    parser.add_argument("--store", type=str, required=True, help="Path or URL of the store.")
    parser.add_argument(
        "--take_over",
        "--take-over",
        action="store_true",
        help="Write the store though another run's lock is on it: that run is over.",
    )
    try:
        found = parser.parse_args(list(arguments))
    except ArgumentError as error:
        _refuse(str(error))
    sections = parser.instantiate(found)
    return Config(**{f.name: sections[f.name] for f in dataclasses.fields(Config)})


Section = TypeVar("Section")


def parse_section(
    command: str, name: str, kind: type[Section], arguments: Sequence[str]
) -> Section:
    """The settings of a command that has a section of its own, in a file and as options.

    Raises UserError naming the file or option and the key.
    """
    from jsonargparse import ArgumentError, ArgumentParser, set_parsing_settings

    set_parsing_settings(docstring_parse_attribute_docstrings=True)
    known = {name, *_keys(kind, f"{name}.")}
    mappings = [f"{name}.{f.name}" for f in dataclasses.fields(kind) if "dict" in str(f.type)]  # type: ignore[arg-type]
    _check_options(arguments, known, mappings)
    parser = ArgumentParser(prog=f"vxdist {command}", exit_on_error=False)
    parser.add_argument("--config", action="config", help="YAML file with any of these settings.")
    parser.add_class_arguments(kind, name)
    try:
        found = parser.parse_args(list(arguments))
    except ArgumentError as error:
        _refuse(str(error))
    section: Section = parser.instantiate(found)[name]
    return section


_DESCRIPTION = "All stages read the same file; each uses its own sections."


def _check_options(arguments: Sequence[str], known: set[str], mappings: Sequence[str]) -> None:
    """Name the nearest known key for every unknown one, in the file or on the command line.

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
    for file in files:
        for key in _file_keys(file):
            if key not in known and not _is_open(key, mappings):
                raise UserError(_unknown(f"{file}: key {key}", key, known))


def _unknown(what: str, key: str, known: set[str]) -> str:
    name = key.rpartition(".")[2]
    if name in NOT_OURS:
        return f"{what} is not a setting: {NOT_OURS[name]}"
    near = difflib.get_close_matches(key, sorted(known), n=1, cutoff=0.0)
    return f"{what} is not known; did you mean {near[0]}?"


def _is_open(key: str, mappings: Sequence[str]) -> bool:
    return any(key.startswith(f"{name}.") for name in mappings)


def _keys(kind: Any, prefix: str = "") -> Iterator[str]:
    """All keys of a dataclass, dotted, sections included."""
    for item in dataclasses.fields(kind):
        yield prefix + item.name
        if dataclasses.is_dataclass(item.type):
            yield from _keys(item.type, f"{prefix}{item.name}.")


def _file_keys(file: str) -> Iterator[str]:
    try:
        content = yaml.safe_load(Path(file).read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"--config {file}: {error.strerror}; give a YAML file") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{file}: not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise UserError(f"{file}: found {type(content).__name__}, expected a mapping of sections")

    def walk(mapping: dict[Any, Any], prefix: str) -> Iterator[str]:
        for key, value in mapping.items():
            yield f"{prefix}{key}"
            if isinstance(value, dict):
                yield from walk(value, f"{prefix}{key}.")

    yield from walk(content, "")


def _refuse(message: str) -> NoReturn:
    """jsonargparse explains over many lines; the first that says something is enough."""
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    raise UserError("settings: " + " ".join(lines)[:400])


OWN = {"reduce": ("reduce",), "evaluate": ("evaluate",), "report": ("report",)}
"""Sections that a later stage decides; locate decides all that are not there yet."""


def save_settings(config: Config, stage: str) -> None:
    """Keep the settings of a stage that ran beside the store, so that the run can be replayed.

    A later stage replaces its own section only: what made the store stays as it was.
    """
    if not is_first_rank():
        return
    storage, name = beside(config.store, ".yaml")
    settings = dataclasses.asdict(config)
    del settings["take_over"]
    if (there := storage.read(name)) is not None:
        kept = yaml.safe_load(there.decode())
        mine = OWN.get(stage, [key for key in settings if key not in sum(OWN.values(), ())])
        settings = {**settings, **kept, **{key: settings[key] for key in mine}}
    text = yaml.safe_dump(settings, allow_unicode=True, sort_keys=False)
    head = f"# vxdist: resolved settings; replay with `vxdist run --config {name}`\n"
    try:
        storage.write(name, (head + text).encode())
    except OSError as error:
        print(f"warning: {name} was not written ({error.strerror})", file=sys.stderr)

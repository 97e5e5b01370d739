"""Settings in the form that jsonargparse takes, and its errors as one line."""

import dataclasses
import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from vxdist.errors import UserError
from vxdist.yaml_text import LONGEST, NotYaml, load_yaml
from vxstore.text import name_binary, shorten

_SAYS = re.compile(r'Parser key "(?P<key>[^"]+)": (?P<rest>.*)')
_EXPECTED = re.compile(r"Expected an? (?P<kind>.+?)\. Got value: (?P<found>.*)")
_UNION = re.compile(r"Subtypes: \[(?P<kind>.+)\] Errors: .* Given value: (?P<found>.*)")
_KINDS = (
    (re.compile(r"typing\.Literal\[(.+)\]"), lambda m: m[1].replace(", ", " or ")),
    (re.compile(r"<class 'NoneType'>"), lambda _: "null"),
    (re.compile(r"<class '(?:\w+\.)*(\w+)'>"), lambda m: m[1]),
)
_WORDS = {
    "list[str]": "a list such as [a, b]",
    "dict": "a mapping",
    "int": "a whole number",
    "float": "a number",
    "str": "a text",
    "bool": "true or false",
    ", null": " or null",
}
"""How the types of settings are called."""


def find_lists(kind: type[Any], prefix: str) -> Iterator[str]:
    """The dotted keys of a dataclass that hold a list of strings, sections included."""
    for item in dataclasses.fields(kind):
        name = prefix + item.name
        if isinstance(item.type, type) and dataclasses.is_dataclass(item.type):
            yield from find_lists(item.type, f"{name}.")
        elif str(item.type).startswith("list[str]"):
            yield name


def read_yaml(file: str) -> dict[Any, Any]:
    """The content of a configuration file. Raises UserError if it is no mapping of sections."""
    try:
        with Path(file).open("rb") as stream:  # which may be a pipe, as in --config <(command)
            raw = stream.read(4 * LONGEST + 1)
        if (binary := name_binary(raw)) is not None:
            raise UserError(f"{file}: is {binary}, not YAML; give a YAML file")
        content = load_yaml(raw.decode("utf-8-sig"))
    except OSError as error:
        raise UserError(f"--config {file}: {error.strerror}; give a YAML file") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{file}: not YAML: {' '.join(str(error).split())}") from error
    except NotYaml as error:
        raise UserError(f"{file}: {error}") from error
    if not isinstance(content, dict):
        raise UserError(f"{file}: found {type(content).__name__}, expected a mapping of sections")
    return content


def spell_lists(
    arguments: Sequence[str], contents: Mapping[str, dict[Any, Any]], lists: Collection[str]
) -> list[str]:
    """The arguments, with lists of strings that are given as words, as in `en,zh`, made lists.

    `contents` are what is to be read of the files given with --config, `lists` the keys that hold
    lists of strings. Raises UserError if YAML reads a word of a list as another thing.
    """
    spelled: list[str] = []
    key = ""  # of the option whose value comes next
    for argument in arguments:
        if not argument.startswith("--"):
            spelled.append(_spell(key, argument, contents, lists))
            key = ""
            continue
        key, equals, given = argument[2:].partition("=")
        if equals:
            spelled.append(f"--{key}={_spell(key, given, contents, lists)}")
            key = ""
        else:
            spelled.append(argument)
    return spelled


def _spell(
    key: str, given: str, contents: Mapping[str, dict[Any, Any]], lists: Collection[str]
) -> str:
    if key in lists:
        words = _split(given)
        return given if words is None else json.dumps(words, ensure_ascii=False)
    if key == "config" and given in contents:
        changed = _spell_file(given, contents[given], lists, "")
        if changed != read_yaml(given):
            return json.dumps(changed, ensure_ascii=False, default=str)
    return given


def _split(given: str) -> list[str] | None:
    """The words of a list that is not written as YAML or JSON; None if it is, or is null."""
    text = given.strip()
    if text.startswith("[") or text.lower() in ("null", "~", ""):
        return None
    return [word.strip() for word in text.split(",") if word.strip()]


def _spell_file(file: str, item: Any, lists: Collection[str], key: str) -> Any:
    if isinstance(item, dict):
        prefix = f"{key}." if key else ""
        return {k: _spell_file(file, i, lists, f"{prefix}{k}") for k, i in item.items()}
    if key not in lists:
        return item
    if isinstance(item, bool) or (isinstance(item, list) and any(type(i) is bool for i in item)):
        raise UserError(
            f"{file}: key {key}: found a word that YAML reads as true or false (yes, no, on, off); "
            "quote it, as in ['no']"
        )
    words = _split(item) if isinstance(item, str) else None
    return item if words is None else words


def explain(message: str, contents: Mapping[str, dict[Any, Any]], options: Sequence[str]) -> str:
    """An error of jsonargparse, which explains over many lines, as one line.

    Names the file if the setting was not given as an option.
    """
    line = " ".join(message.split())
    if (says := _SAYS.match(line)) is None:
        return f"settings: {shorten(line, 300)}"
    key, rest = says["key"], says["rest"]
    given = any(option.partition("=")[0] == f"--{key}" for option in options)
    files = [file for file, content in contents.items() if _holds(content, key.split("."))]
    where = f"option --{key}" if given or not files else f"{files[-1]}: key {key}"
    found = _EXPECTED.match(rest) or _UNION.search(rest)
    if found is None:
        return f"{where}: {shorten(rest, 300)}"
    kind = found["kind"]
    for pattern, spell in _KINDS:
        kind = pattern.sub(spell, kind)
    for name, words in _WORDS.items():
        kind = re.sub(rf"(?<!\w){re.escape(name)}(?!\w)", words, kind)
    return f"{where}: found {shorten(found['found'])}, expected {kind}"


def _holds(content: Any, key: Sequence[str]) -> bool:
    for name in key:
        if not isinstance(content, dict) or name not in content:
            return False
        content = content[name]
    return True

"""TOML into frozen structs; a mistake names the key, its value, what is allowed, the nearest right spelling.

A field's annotation says everything about its key: its type, its range, and for
strings the parser (`texts.TEXTS`).
"""

from __future__ import annotations

import difflib
import json
import re
import tomllib
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeGuard, TypeVar, Union, get_args, get_origin

import msgspec
from msgspec import Struct

from vipnet.app.texts import TEXTS
from vipnet.errors import ConfigError

KeyPath = tuple[str | int, ...]  # keys and list indices from the top


class Section(Struct, frozen=True, forbid_unknown_fields=True):
    """Base of all tables.

    Rules between keys stand in `__post_init__` and raise ValueError, the key's name first.
    """


SectionT = TypeVar("SectionT", bound=Section)


def decode(data: bytes, root: type[SectionT]) -> SectionT:
    """Parse DATA as the table ROOT; raise ConfigError, one line."""
    try:
        raw = tomllib.loads(data.decode())
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise ConfigError(f"not TOML: {_one_line(str(error))}") from None
    parsed = _parse_texts(root, raw, ())
    try:
        return msgspec.convert(parsed, root)
    except msgspec.ValidationError as error:
        raise ConfigError(_explain(error, root, raw)) from None


def _parse_texts(kind: object, value: object, path: KeyPath) -> object:
    """VALUE with its strings parsed as KIND asks; other misfits are left for msgspec to refuse."""
    kind = without_none(kind)
    if kind in TEXTS:
        return _parse_text(kind, value, path)
    if get_origin(kind) is tuple and isinstance(value, list):
        return [_parse_texts(get_args(kind)[0], item, (*path, i)) for i, item in enumerate(value)]
    if is_section(kind) and isinstance(value, dict):
        types = _key_types(kind)
        for key in value:
            if key not in types:
                raise ConfigError(_unknown_key(key, path, types))
        return {key: _parse_texts(types[key], item, (*path, key)) for key, item in value.items()}
    return value


def _parse_text(kind: object, value: object, path: KeyPath) -> object:
    parser, words = TEXTS[kind]
    start = f"{_label(path)} = {_show(value)}: must be {words}"
    if not isinstance(value, str):
        raise ConfigError(start)
    try:
        return parser(value)
    except ValueError as error:
        raise ConfigError(f"{start} ({_one_line(str(error))})") from None


def _unknown_key(key: str, path: KeyPath, types: dict[str, Any]) -> str:
    text = f"unknown key {_show(key)} {'in ' + _table(path) if path else 'at the top'}"
    # At the top, the key may have lost its table's header.
    homes = [table for table, kind in types.items() if is_section(kind) and key in _key_types(kind)]
    if homes:
        return f"{text}; it belongs under [{homes[0]}]"
    if near := difflib.get_close_matches(key, types, n=1):
        return f'{text}; did you mean "{near[0]}"?'
    return f"{text}; possible are {', '.join(types)}"


def _explain(error: msgspec.ValidationError, root: type[Section], raw: dict[str, Any]) -> str:
    """Say in our words what msgspec says as `... - at `$.tun.mtu``."""
    text, _, place = str(error).partition(" - at `$")
    steps = re.findall(r"\.(\w+)|\[(\d+)\]", place)
    path: KeyPath = tuple(int(index) if index else key for key, index in steps)
    kind, value = _descend(root, raw, path)
    if missing := re.fullmatch(r"Object missing required field `(\w+)`", text):
        return f"{_label((*path, missing[1]))} is missing"
    if is_section(kind) and isinstance(value, dict):
        return f"{_table(path)} {text}".lstrip()  # a rule of a __post_init__
    return f"{_label(path)} = {_show(value)}: must be {allowed(kind, value)}"


def _descend(kind: object, value: Any, path: KeyPath) -> tuple[object, Any]:  # noqa: ANN401 - TOML holds anything
    """The type and the value at PATH below KIND and VALUE."""
    for step in path:
        kind = _key_types(kind)[str(step)] if is_section(kind) else get_args(kind)[0]
        kind, value = without_none(kind), value[step]
    return kind, value


def allowed(kind: object, value: object) -> str:
    """What a key of type KIND may be, for people; the nearest to VALUE, which is none of it."""
    if get_origin(kind) is Literal:
        options = get_args(kind)
        near = difflib.get_close_matches(value, options, n=1) if isinstance(value, str) else []
        hint = f'; did you mean "{near[0]}"?' if near else ""
        words = ", ".join(f'"{option}"' for option in options)
        return (words if len(options) == 1 else f"one of {words}") + hint
    if get_origin(kind) is Annotated:
        number, meta = get_args(kind)
        low = f"above {meta.gt:g}" if meta.gt is not None else f"from {meta.ge:g}"
        return f"a {'whole ' if number is int else ''}number {low} to {meta.le:.10g}"
    if get_origin(kind) is tuple:
        return "a list"
    if get_origin(kind) in (Union, UnionType):
        return ", or ".join(allowed(option, value) for option in get_args(kind))
    return "true or false" if kind is bool else "a table"


def is_section(kind: object) -> TypeGuard[type[Section]]:
    return isinstance(kind, type) and issubclass(kind, Section)


def _key_types(kind: type[Section]) -> dict[str, Any]:
    """The keys of the table KIND and their types."""
    return {field.encode_name: field.type for field in msgspec.structs.fields(kind)}


def without_none(kind: object) -> object:
    """KIND without `| None`: in TOML only an absent key is none."""
    if get_origin(kind) not in (Union, UnionType):
        return kind
    options = [option for option in get_args(kind) if option is not NoneType]
    return options[0] if len(options) == 1 else kind


def _table(path: KeyPath) -> str:
    """The header of the table at PATH: `[tun]`, the second `[[peer]]`, nothing for the top."""
    if not path:
        return ""
    return f"[[{path[0]}]] number {int(path[1]) + 1}" if len(path) > 1 else f"[{path[0]}]"


def _label(path: KeyPath) -> str:
    """How a person finds a key: `name`, `[tun] mtu`, `[dns] bypass[1]`, `[[peer]] number 2: key`."""
    # The steps down to the table: `peer` is a list of them, `[dns]` one, and at the top there is none.
    depth = next((i for i, step in enumerate(path) if i and isinstance(step, str)), 0)
    items = "".join(f"[{step}]" for step in path[depth + 1 :])
    if not depth and path[0] == "peer" and items:
        return _table(path)
    return f"{_table(path[:depth])} {path[depth]}{items}".lstrip()


def _show(value: object) -> str:
    """VALUE in one line, cut where it is long."""
    text = json.dumps(value, default=str)
    return text if len(text) <= 80 else text[:77] + "..."


def _one_line(text: str) -> str:
    return " ".join(text.split())

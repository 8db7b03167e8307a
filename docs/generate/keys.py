"""The page of the configuration's keys: from the structs that the file is parsed into."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterator
from typing import get_args, get_origin

import msgspec
from docs.generate.commands import plain
from msgspec.structs import FieldInfo

from vipnet.app.config import Config
from vipnet.app.reloading import is_live
from vipnet.app.texts import TEXTS
from vipnet.app.toml import Section, allowed, is_section, without_none

_KEY = re.compile(r"(?m)^(\w+)  +(\S.*(?:\n {3,}\S.*)*)")


def markdown() -> str:
    """Every table and its keys: what it is for, what it may be, what it is when absent."""
    parts = ["## At the top of the file\n", _keys(Config, "")]
    for field in msgspec.structs.fields(Config):
        kind, brackets = without_none(field.type), "[{}]"
        if get_origin(kind) is tuple:
            kind, brackets = get_args(kind)[0], "[[{}]]"
        if is_section(kind):
            about = plain(inspect.cleandoc(kind.__doc__ or "").partition("\n")[0])
            name = field.encode_name
            parts.append(f"## `{brackets.format(name)}`\n\n{about}\n\n{_keys(kind, name)}")
    return "\n".join(parts)


def explanations(table: type[Section]) -> dict[str, str]:
    """What TABLE's docstring says of each key."""
    return {key: " ".join(text.split()) for key, text in _KEY.findall(inspect.cleandoc(table.__doc__ or ""))}


def _keys(table: type[Section], name: str) -> str:
    said = explanations(table)
    return "\n".join(_key(field, said, live=is_live(name, field.name)) for field in fields(table))


def fields(table: type[Section]) -> Iterator[FieldInfo]:
    for field in msgspec.structs.fields(table):
        kind = without_none(field.type)
        item = get_args(kind)[0] if get_origin(kind) is tuple else kind
        if not is_section(item):
            yield field


def _key(field: FieldInfo, said: dict[str, str], *, live: bool) -> str:
    """LIVE: `vipnet reload` is enough. Raise KeyError for a key that the docstring is silent about."""
    about = said[field.encode_name]
    if not re.match(r"\w+: ", about):  # what stands before a colon is a value
        about = about[0].upper() + about[1:]
    mark = " ↻" if live else ""
    return f"`{field.encode_name}{_default(field)}`\n: {plain(about)}. {_values(field.type)}.{mark}\n"


def _default(field: FieldInfo) -> str:
    """` = VALUE` as TOML has it; nothing where there is no value."""
    if field.default is msgspec.NODEFAULT or field.default is None:
        return ""
    value = msgspec.to_builtins(field.default, enc_hook=str)
    if hasattr(field.default, "host"):  # written as one string
        value = str(field.default)
    return f" = {json.dumps(value)}"


def _values(kind: object) -> str:
    kind = without_none(kind)
    if get_origin(kind) is tuple:
        return f"A list; each is {_words(get_args(kind)[0])}"
    words = _words(kind)
    return words[0].upper() + words[1:]


def _words(kind: object) -> str:
    words = TEXTS[kind][1] if kind in TEXTS else allowed(kind, None)
    return re.sub(r'("[^"]*")', r"`\1`", words)

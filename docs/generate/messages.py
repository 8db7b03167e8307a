"""The page of messages: all that the commands and the daemon say to a person when something is wrong.

They are read from the source: whatever is raised as one of the errors whose message is for people.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from itertools import product
from pathlib import Path
from typing import Final

from docs.generate.commands import plain
from msgspec import Struct

SOURCE: Final = Path(__file__).parents[2] / "src/vipnet"
GAP: Final = "…"  # what differs from one time to another

# The errors whose message ends what a person has asked for, and how the page calls them.
KINDS: Final = {
    "UsageError": "Usage, exit status 2",
    "ConfigError": "Configuration, files and arguments, exit status 2",
    "HostError": "This machine, exit status 1",
    "NotReadyError": "Not ready, exit status 3",
    "NotRunningError": "No daemon, exit status 4",
    "VipnetError": "Others, exit status 1",
    "UnreachableError": "A name that cannot be reached: `resolve`, `ping`, answers to look-ups (RFC 8914)",
    "PublishError": "A provider of DNS: in `status`, and while `init` tries",
}
TOLD_BEFORE: Final = "lab/"  # the lab has no configuration; its messages come last


class Message(Struct, frozen=True, order=True):
    """What is said, with a gap for each value.

    place      file below src/vipnet
    permanent  of PublishError: nothing is tried again without a change
    passes_on  it is another's words and no more
    """

    kind: str
    place: str
    line: int
    text: str
    permanent: bool = True

    @property
    def passes_on(self) -> bool:
        return not re.search(r"[a-z]{2}", self.text)


def messages() -> Iterator[Message]:
    """All of them, in the order of the source."""
    for path in sorted(SOURCE.rglob("*.py")):
        tree = ast.parse(path.read_text())
        for function in ast.walk(tree):
            if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                yield from _of(function, str(path.relative_to(SOURCE)))


def _of(function: ast.FunctionDef | ast.AsyncFunctionDef, place: str) -> Iterator[Message]:
    named: dict[str, list[ast.expr]] = {}  # what local names stand for
    for node in ast.walk(function):
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            named.setdefault(node.targets[0].id, []).append(node.value)
    for node in ast.walk(function):
        if isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Name):
            named.pop(node.target.id, None)  # it grows to what nobody can tell from here
    for node in ast.walk(function):
        if isinstance(node, ast.Call) and node.args:
            kind = ast.unparse(node.func).rpartition(".")[2]
            if kind in KINDS:
                permanent = any(one.arg == "permanent" for one in node.keywords)
                for text in _texts(node.args[0], named):
                    yield Message(kind, place, node.lineno, text, permanent)


def _texts(node: ast.expr, named: Mapping[str, list[ast.expr]]) -> list[str]:
    """What NODE says: more than one where it chooses, or where a name has several values."""
    match node:
        case ast.Constant(value=str(text)):
            return [text]
        case ast.JoinedStr(values=parts):
            return ["".join(words) for words in product(*(_texts(part, named) for part in parts))]
        case ast.FormattedValue(value=ast.Name() as value):
            return _texts(value, named)
        case ast.Name(id=name) if name in named:
            others = {key: values for key, values in named.items() if key != name}  # no circles
            return [text or GAP for value in named[name] for text in _texts(value, others)]
        case ast.BinOp(left=left, right=right):
            return ["".join(words) for words in product(_texts(left, named), _texts(right, named))]
        case ast.IfExp(body=body, orelse=orelse):
            return [*_texts(body, named), *_texts(orelse, named)]
    return [GAP]


def markdown() -> str:
    """A list for each kind."""
    found = sorted(set(messages()), key=lambda one: (one.place.startswith(TOLD_BEFORE), one.text.lower()))
    parts = []
    for kind, title in KINDS.items():
        texts = dict.fromkeys(one.text for one in found if one.kind == kind and not one.passes_on)
        parts.append(f"## {title}\n\n" + "".join(f"- {plain(text)}\n" for text in texts))
    return "\n".join(parts)

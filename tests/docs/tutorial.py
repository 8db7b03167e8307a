"""docs/tutorial.md as a program: what its console blocks say is typed on machines, what comes is compared.

    python -m tests.docs.tutorial        # types them and writes what they print into the page

In a block a line that begins with a prompt, `root@red:~# `, is typed on red; lines that begin with `> `
belong to it; all others are what it prints, a line `...` for any number of lines. A comment,
`<!-- by hand: move red -->`, is what a person does without typing.
"""

from __future__ import annotations

import re
import shlex
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from msgspec import Struct
from tests.docs.machines import Room, room

PAGE: Final = Path(__file__).parents[2] / "docs/tutorial.md"
_ANY: Final = "..."
_PROMPT: Final = r"root@(?P<machine>\w+):\S+# "
_TYPED: Final = re.compile(rf"(?m)^{_PROMPT}(?P<command>.*\n(?:> .*\n)*)(?P<printed>(?:(?!root@).*\n)*)")
_PIECE: Final = re.compile(r"(?ms)^```console\n(?P<block>.*?)^```$|^<!-- by hand: (?P<hand>.*?) -->$")
# What differs from one run to the next.
_VOLATILE: Final = (
    (re.compile(r" *\b\d+(\.\d+)?(e-\d+)? ?(ms|us|s)\b"), " TIME"),
    (re.compile(r"\b\d\d:\d\d:\d\d\b"), "CLOCK"),
    (re.compile(r"[0-9A-Za-z+/]{43}="), "KEY"),
    (re.compile(r"\b[\d,.]+ (bytes|[kMG]?B)\b"), "BYTES"),
    (re.compile(r"(rtt min/avg/max/mdev = ).*"), r"\1TIMES"),
    (re.compile(r"\b(acked|dns)  hint.*"), "HINT"),
    (re.compile(r", MTU \d+$", re.MULTILINE), ""),  # it may not be known yet
)


class Typed(Struct, frozen=True):
    """A command, its machine, and what the page says that it prints, which begins at the offset `at`."""

    machine: str
    command: str
    printed: str
    at: int


class ByHand(Struct, frozen=True):
    """What is done without typing: a method of Room and its arguments."""

    verb: str
    arguments: tuple[str, ...]


def steps(text: str) -> Iterator[Typed | ByHand]:
    """All of a page's, in order. Raise ValueError for a block that does not begin with a prompt."""
    for piece in _PIECE.finditer(text):
        if piece["hand"] is not None:
            verb, *arguments = shlex.split(piece["hand"])
            yield ByHand(verb, tuple(arguments))
        else:
            if not re.match(_PROMPT, piece["block"]):
                raise ValueError(f"a console block begins with a prompt: {piece['block']!r}")
            for typed in _TYPED.finditer(text, *piece.span("block")):
                command = re.sub("(?m)^> ", "", typed["command"]).rstrip("\n")
                yield Typed(typed["machine"], command, typed["printed"], typed.start("printed"))


def take(step: Typed | ByHand, there: Room) -> str:
    """Do STEP; return what was printed."""
    if isinstance(step, Typed):
        return there.machines[step.machine].type(step.command)
    by_hand: dict[str, Callable[..., None]] = {"move": there.move, "carry": there.carry}
    by_hand[step.verb](*step.arguments)
    return ""


def matches(expected: str, printed: str) -> bool:
    """Whether PRINTED is what the page says, but for what differs from run to run."""
    parts = steady(expected).split(f"{_ANY}\n")
    pattern = r"(?:.*\n)*?".join(re.escape(part) for part in parts)
    return re.fullmatch(pattern, steady(printed)) is not None


def steady(text: str) -> str:
    """TEXT without what differs from run to run, and without how columns are filled."""
    for pattern, word in _VOLATILE:
        text = pattern.sub(word, text)
    return re.sub(r"(?m)[ \t]+$", "", re.sub(r"(?<=\S) {2,}", "  ", text))


def renewed(text: str) -> str:
    """The page TEXT with what its commands print now; what matches stays as it is."""
    now = []
    with tempfile.TemporaryDirectory() as directory, room(Path(directory)) as there:
        for step in steps(text):
            printed = take(step, there)
            if isinstance(step, Typed) and not matches(step.printed, printed):
                now.append((step, printed))
    for step, printed in reversed(now):
        text = text[: step.at] + printed + text[step.at + len(step.printed) :]
    return text


if __name__ == "__main__":
    PAGE.write_text(renewed(PAGE.read_text()))

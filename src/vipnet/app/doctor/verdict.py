"""What a check says: an element of `checks` in `vipnet doctor --json`."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

State = Literal["ok", "warn", "fail", "skip"]


class Verdict(Struct, frozen=True):
    """One check's result.

    id       stable: scripts may rely on it
    state    warn: works, but not as it could; fail: something that should work does not;
             skip: could not, or need not, be looked at
    found    what there is
    meaning  what follows from it for the user, None when all is well
    fix      a command or a line of configuration that mends it
    """

    id: str
    state: State
    found: str
    meaning: str | None = None
    fix: str | None = None


def ok(id: str, found: str) -> Verdict:  # noqa: A002 - as in the JSON
    return Verdict(id, "ok", found)


def skip(id: str, why: str, fix: str | None = None) -> Verdict:  # noqa: A002
    return Verdict(id, "skip", why, None, fix)


def warn(id: str, found: str, meaning: str, fix: str | None = None) -> Verdict:  # noqa: A002
    return Verdict(id, "warn", found, meaning, fix)


def fail(id: str, found: str, meaning: str, fix: str | None = None) -> Verdict:  # noqa: A002
    return Verdict(id, "fail", found, meaning, fix)

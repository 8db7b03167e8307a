"""`vipnet resolve`: the steps from a name to an address, each with its time."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import trio
from msgspec import Struct, to_builtins

from vipnet.core.outputs import LookupResult
from vipnet.errors import LookupFailedError, UnreachableError
from vipnet.system.lookup import Capability, Lookup, result_of
from vipnet.types import Fqdn, Token


class Step(Struct):
    """One step: `ms` is how long it took, `detail` what came of it, for people."""

    id: str
    ms: float = 0.0
    ok: bool = True
    detail: str = ""


class Resolution:
    """Collects the steps for NAME and makes the `resolve` JSON of them."""

    def __init__(self, name: Fqdn) -> None:
        self._name = name
        self._steps: list[Step] = []

    def add(self, step_id: str, detail: str) -> None:
        """A step that takes no time."""
        self._steps.append(Step(step_id, detail=detail))

    def begin(self, step_id: str) -> Step:
        """Give a step its place in the order; `timing` does the rest."""
        step = Step(step_id)
        self._steps.append(step)
        return step

    @contextmanager
    def timing(self, step: Step) -> Iterator[None]:
        """Time the body; a failed look-up or a peer out of reach ends it, and the step is not ok."""
        started = time.monotonic()
        try:
            yield
        except (LookupFailedError, UnreachableError) as error:
            step.ok, step.detail = False, str(error)
        finally:
            step.ms = round((time.monotonic() - started) * 1000, 3)

    def vip(self, token: Token) -> dict[str, Any]:
        self.add("token", f"{token} stands for {self._name}")
        return self._json("vip", str(token))

    def legacy(self, found: LookupResult) -> dict[str, Any]:
        return self._json("legacy", found.addresses[0]) if found.addresses else self.failed()

    def failed(self) -> dict[str, Any]:
        return self._json("failed", None)

    def _json(self, kind: str, address: str | None) -> dict[str, Any]:
        return {"name": self._name, "kind": kind, "address": address, "steps": to_builtins(self._steps)}


async def ask_dns(steps: Resolution, lookup: Lookup, name: Fqdn) -> LookupResult:
    """Ask for NAME's addresses and capability record at once, and time both."""
    addresses: tuple[str, ...] | None = None
    capability: Capability | None = None
    a_step, vip_step = steps.begin("dns_a"), steps.begin("dns_vip")

    async def ask_addresses() -> None:
        nonlocal addresses
        with steps.timing(a_step):
            addresses = await lookup.addresses(name)
            a_step.detail = ", ".join(addresses) or "no address"

    async def ask_capability() -> None:
        nonlocal capability
        with steps.timing(vip_step):
            capability = await lookup.capability(name)
            vip_step.detail = str(capability.record or "no capability record")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask_addresses)
        nursery.start_soon(ask_capability)
    return result_of(name, addresses, capability)

"""Captive portals: networks whose name servers answer everything with one address until somebody logs in.

Told by two questions: a name that cannot exist (below .invalid, RFC 6761 section 6.4) and one
that always does. Only a portal has the same address for both; a provider that sends its
customers' typing errors to a search page knows the second one.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Awaitable, Callable
from typing import Final

import dns.exception
import dns.message
import trio

from vipnet.errors import LookupFailedError
from vipnet.names.answer import addresses_in

ALWAYS_THERE: Final = "a.root-servers.net"
PROBE_DELAY_S: Final = 0.5  # after an event: what a move sends goes first
OPEN_CHECK_S: Final = 1.0  # while captive, growing by half ...
OPEN_CHECK_MAX_S: Final = 10.0  # ... to this

log = logging.getLogger(__name__)


class PortalWatch:
    """Asks whether the network tells the truth, when there is a reason to.

    captive  it does not

    exchange  passes a question to the network's resolvers. Raises LookupFailedError
    changed   told when `captive` has changed
    """

    def __init__(
        self, exchange: Callable[[bytes], Awaitable[bytes]], changed: Callable[[bool], None]
    ) -> None:
        self.captive = False
        self._exchange, self._changed = exchange, changed
        self._reason = trio.Event()

    def suspect(self) -> None:
        """Something failed that a portal would make fail."""
        self._reason.set()

    def handle_network(self) -> None:
        """The network is another: innocent until asked."""
        self._judge(False)
        self._reason.set()

    async def run(self) -> None:
        """Look whenever there is a reason, and for as long as the network is captive."""
        check_s = OPEN_CHECK_S
        while True:
            with trio.move_on_after(check_s if self.captive else float("inf")):
                await self._reason.wait()
                check_s = OPEN_CHECK_S
                await trio.sleep(PROBE_DELAY_S)
            self._reason = trio.Event()
            verdict = await self._ask()
            if verdict is not None and not self._reason.is_set():
                self._judge(verdict)
            check_s = min(1.5 * check_s, OPEN_CHECK_MAX_S)

    def _judge(self, captive: bool) -> None:
        if captive == self.captive:
            return
        self.captive = captive
        log.info("network.captive" if captive else "network.open")
        self._changed(captive)

    async def _ask(self) -> bool | None:
        """Whether the network is captive; None when it does not answer at all."""
        found: list[frozenset[str]] = []

        async def ask(name: str) -> None:
            query = dns.message.make_query(name, "A").to_wire()
            try:
                reply = dns.message.from_wire(await self._exchange(query), ignore_trailing=True)
            except LookupFailedError:
                return
            except (dns.exception.DNSException, ValueError):
                found.append(frozenset())
            else:
                found.append(frozenset(addresses_in(reply)))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask, f"{secrets.token_hex(8)}.invalid")
            nursery.start_soon(ask, ALWAYS_THERE)
        if len(found) < 2:
            return None
        return bool(found[0] & found[1])

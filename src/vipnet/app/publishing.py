"""Keeping DNS true while the host moves: one update under way, the newest next."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from typing import Any, Final, Literal

import trio

from vipnet.errors import PublishError
from vipnet.names.desired import Desired
from vipnet.publish import Publisher

RETRY_S: Final = 1.0  # after a failure that may pass, doubling ...
RETRY_MAX_S: Final = 60.0  # ... to this
FLAP_S: Final = 0.5  # an address that changes again so soon is published when it has settled
CLOCK_RETRY_S: Final = 10.0  # a clock is set soon after boot ...
CLOCK_RETRIES: Final = 30  # ... within five minutes; then every RETRY_MAX_S

State = Literal["off", "ok", "pending", "waiting", "refused", "clock"]
log = logging.getLogger(__name__)


class PublishLoop:
    """Publishes the latest addresses that `want` was told, until the provider has confirmed them.

    A newer want ends the update under way: it may be waiting for an answer to an address
    that the host no longer has. A refusal that needs the user ends the trying, until the
    addresses change.

    publisher  None: nothing is published
    desired    what to publish for given addresses
    published  told the addresses that the provider has confirmed
    """

    def __init__(
        self,
        publisher: Publisher | None,
        desired: Callable[[tuple[str, ...]], Desired],
        *,
        published: Callable[[tuple[str, ...]], None] = lambda _addresses: None,
    ) -> None:
        self._publisher, self._desired, self._tell = publisher, desired, published
        self._wanted: tuple[str, ...] = ()
        self._last_wanted: tuple[str, ...] = ()  # but for none at all
        self._confirmed: tuple[str, ...] | None = None  # None: DNS may have the old or the new ones
        self._address: str | None = None
        self._changed = trio.Event()
        self._last_change = -math.inf
        self._hold_until = -math.inf
        self._calling = trio.Lock()
        self._state: State = "off" if publisher is None else "pending"
        self._error: str | None = None

    @property
    def state(self) -> State:
        return self._state

    def status(self) -> dict[str, Any]:
        """`publish` of the status JSON; `address` is the best of those confirmed last."""
        return {
            "provider": self._publisher.provider if self._publisher else "none",
            "state": self._state,
            "address": self._address,
            "error": self._error,
        }

    def want(self, addresses: tuple[str, ...]) -> None:
        """ADDRESSES are the host's now, best first; never blocks. None at all: DNS is left as it is.

        The same addresses again end the waiting after a failure: the path may be new.
        """
        if self._publisher is None or (addresses == self._wanted and self._state in ("ok", "refused")):
            return
        if addresses and addresses != self._last_wanted:
            # One change is published at once, flapping only when it is over.
            flapping = trio.current_time() - self._last_change < FLAP_S
            self._last_change = trio.current_time()
            self._hold_until = self._last_change + FLAP_S if flapping else self._last_change
            self._last_wanted = addresses
        self._wanted = addresses
        if addresses and addresses == self._confirmed:
            self._state, self._error = "ok", None
        elif addresses:
            self._state, self._error = "pending", None
        self._changed.set()

    async def run(self) -> None:
        """Publish until cancelled."""
        while True:
            self._changed = trio.Event()
            changed, addresses = self._changed, self._wanted
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._cancel_when, changed, nursery.cancel_scope)
                if addresses and addresses != self._confirmed and self._publisher is not None:
                    await trio.sleep_until(self._hold_until)
                    await self._publish(self._publisher, addresses)
                await trio.sleep_forever()

    async def withdraw(self) -> None:
        """Take the name's records back; nothing is published until the next want. Raise PublishError."""
        self.want(())
        if self._publisher is None:
            return
        async with self._calling:  # the update under way has been cancelled
            self._confirmed = None
            await self._publisher.withdraw(self._desired(()))
            self._address = None

    async def _cancel_when(self, event: trio.Event, scope: trio.CancelScope) -> None:
        await event.wait()
        scope.cancel()

    async def _publish(self, publisher: Publisher, addresses: tuple[str, ...]) -> None:
        """Return when the provider has confirmed ADDRESSES or refused them for good."""
        failures = 0
        while True:
            self._confirmed = None
            try:
                async with self._calling:
                    await publisher.publish(self._desired(addresses))
            except PublishError as error:
                self._failed(error)
                if error.permanent:
                    return
                await trio.sleep(_pause_s(failures, clock=error.clock))
                failures += 1
            else:
                break
        self._state, self._error = "ok", None
        self._confirmed, self._address = addresses, addresses[0]
        log.info("publish.done", extra={"provider": publisher.provider, "addresses": addresses})
        self._tell(addresses)

    def _failed(self, error: PublishError) -> None:
        self._state = "refused" if error.permanent else "clock" if error.clock else "pending"
        if str(error) != self._error:
            log.warning("publish.failed", extra={"state": self._state, "error": str(error)})
        self._error = str(error)


def _pause_s(failures: int, *, clock: bool) -> float:
    """How long to wait after the given number of earlier failures in a row."""
    if clock:
        return CLOCK_RETRY_S if failures < CLOCK_RETRIES else RETRY_MAX_S
    return min(RETRY_S * 2.0 ** min(failures, 16), RETRY_MAX_S)

"""Keeping DNS true while the host moves: one update under way, the newest next, none too soon."""

from __future__ import annotations

import logging
import math
import random
from collections.abc import Callable
from typing import Any, Final, Literal

import trio

from vipnet.errors import PublishError
from vipnet.names.desired import Desired
from vipnet.publish import Publisher

RETRY_S: Final = 1.0  # after a failure that may pass, doubling ...
RETRY_MAX_S: Final = 60.0  # ... to this
JITTER: Final = 0.25  # at most so much of a pause is added: hosts that failed together come back apart
FLAP_S: Final = 0.5  # an address that changes again so soon is published when it has settled
CLOCK_RETRY_S: Final = 10.0  # a clock is set soon after boot ...
CLOCK_RETRIES: Final = 30  # ... within five minutes; then every RETRY_MAX_S

State = Literal["off", "ok", "pending", "waiting", "refused", "clock"]
log = logging.getLogger(__name__)


class PublishLoop:
    """Publishes the latest addresses that `want` was told, until the provider has confirmed them.

    A newer want ends the update under way as soon as the provider takes another: it may be
    waiting for an answer to an address that the host no longer has. What comes in while the
    provider wants to be left alone is one update, with the latest, afterwards. A refusal
    that needs the user ends the trying, until the addresses change.

    publisher  None: nothing is published
    desired    what to publish for given addresses
    interval_s least time between updates; None: what the publisher says
    published  told the addresses that DNS has now
    failed     told that an update was in vain
    jitter     from 0 to 1
    """

    def __init__(
        self,
        publisher: Publisher | None,
        desired: Callable[[tuple[str, ...]], Desired],
        *,
        interval_s: float | None = None,
        published: Callable[[tuple[str, ...]], None] = lambda _addresses: None,
        failed: Callable[[], None] = lambda: None,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._publisher, self._desired, self._jitter = publisher, desired, jitter
        self._tell, self._tell_failed = published, failed
        self._paused: str | None = None  # why nothing is sent
        self._interval_s = interval_s
        self._wanted: tuple[str, ...] = ()
        self._last_wanted: tuple[str, ...] = ()  # but for none at all
        self._confirmed: tuple[str, ...] | None = None  # None: DNS may have the old or the new ones
        self._wants = 0  # how often something was wanted
        self._address: str | None = None
        self._changed = trio.Event()
        self._last_change = -math.inf
        self._hold_until = -math.inf  # for an address that flaps
        self._retry_at = -math.inf  # after a failure; a new path ends this wait, not the next one
        self._not_before = -math.inf  # the provider's will
        self._refresh_at = math.inf
        self._failures = 0
        self.updates = {"ok": 0, "failed": 0}
        self.succeeded_at: float | None = None  # on trio's clock
        self._calling = trio.Lock()
        self._state: State = "off" if publisher is None else "pending"
        self._error: str | None = None

    @property
    def state(self) -> State:
        if self._paused is not None and self._state not in ("off", "ok"):
            return "waiting"
        idle = not self._calling.locked()
        if self._state == "pending" and idle and trio.current_time() < self._not_before:
            return "waiting"
        return self._state

    @property
    def address(self) -> str | None:
        """The best of those that DNS has by the last update."""
        return self._address

    @property
    def writes_record(self) -> bool:
        """Whether the capability record gets into DNS by this provider."""
        return self._publisher is not None and self._publisher.writes_record

    def status(self) -> dict[str, Any]:
        """`publish` of the status JSON; `address` is the best of those that DNS has by the last update."""
        error = self._error
        if self.state == "waiting" and self._paused is not None:
            error = self._paused
        elif self.state == "waiting" and error is None:
            wait_s = math.ceil(self._not_before - trio.current_time())
            error = f"the provider takes one update at a time: the next in {wait_s} s"
        if self._state == "pending" and not self._last_wanted:
            error = "there is no address to publish yet"
        return {
            "provider": self._publisher.provider if self._publisher else "none",
            "state": self.state,
            "address": self._address,
            "error": error,
        }

    def want(self, addresses: tuple[str, ...]) -> None:
        """ADDRESSES are the host's now, best first; never blocks. None at all: DNS is left as it is.

        The same addresses again end the waiting after a failure: the path may be new.
        """
        if self._publisher is None:
            return
        # One that takes what it sees may have to be told anew: another network can give the same addresses.
        settled = ("refused",) if self._publisher.echoes else ("ok", "refused")
        if addresses == self._wanted and self._state in settled:
            return
        if self._publisher.echoes:
            self._confirmed = None
        self._wants += 1
        if addresses and addresses != self._last_wanted:
            # One change is published at once, flapping only when it is over.
            flapping = trio.current_time() - self._last_change < FLAP_S
            self._last_change = trio.current_time()
            self._hold_until = self._last_change + FLAP_S if flapping else self._last_change
            self._last_wanted = addresses
        self._wanted = addresses
        self._retry_at, self._failures = -math.inf, 0
        if addresses and addresses == self._confirmed:
            self._state, self._error = "ok", None
        elif addresses:
            if self.state != "waiting":
                self._error = None  # else it says why there is a wait
            self._state = "pending"
        self._changed.set()

    def use(self, publisher: Publisher | None, interval_s: float | None) -> None:
        """Publish by PUBLISHER from now on, what is wanted already too; never blocks.

        An update that is under way counts for nothing. The provider's time is kept: it may be the same.
        """
        self._publisher, self._interval_s = publisher, interval_s
        self._confirmed = self._error = None
        self._retry_at, self._failures = -math.inf, 0
        self._wants += 1
        self._state = "off" if publisher is None else "pending"
        self._changed.set()

    def renew(self) -> None:
        """The capability record has changed, though the addresses have not; never blocks."""
        if not self.writes_record:
            return
        self._confirmed = None
        self._retry_at, self._failures = -math.inf, 0
        if self._wanted and self._state in ("ok", "refused"):
            self._state = "pending"
        self._changed.set()

    def pause(self, why: str, *, lost: bool = False) -> None:
        """Nothing is sent until `resume`: whatever would answer, it is not the provider.

        lost  DNS does not have our addresses any more, though the provider has confirmed them
        """
        self._paused = why
        if lost:
            self._confirmed = None
            self._state = "pending" if self._state == "ok" else self._state
        self._changed.set()

    def resume(self) -> None:
        """What was refused meanwhile says nothing: try at once."""
        if self._paused is None:
            return
        self._paused = None
        if self._state not in ("off", "ok"):
            self._retry_at, self._failures = -math.inf, 0
            self._state, self._error = "pending", None
        self._changed.set()

    async def run(self) -> None:
        """Publish until cancelled."""
        while True:
            self._changed = trio.Event()
            with trio.move_on_at(self._due_at()):
                await self._changed.wait()
                continue
            if self._publisher is not None:
                await self._publish(self._publisher, self._wanted)

    async def withdraw(self) -> None:
        """Take the capability record back; nothing is published until the next want. Raise PublishError."""
        self.want(())
        if self._publisher is None:
            return
        async with self._calling:  # the update under way has been cancelled
            self._confirmed = None
            await self._publisher.withdraw(self._desired(()))

    def _due_at(self) -> float:
        """When the next update is to leave."""
        if self._publisher is None or not self._wanted or self._state == "refused" or self._paused:
            return math.inf
        if self._wanted == self._confirmed:
            return self._refresh_at
        return max(self._hold_until, self._retry_at, self._not_before)

    async def _publish(self, publisher: Publisher, addresses: tuple[str, ...]) -> None:
        """Make one update; what becomes of it, the state says."""
        self._confirmed = None
        not_before = self._not_before
        interval_s = publisher.interval_s if self._interval_s is None else self._interval_s
        self._not_before = trio.current_time() + interval_s
        wants = self._wants
        outcome: tuple[str, ...] | PublishError | None = None  # None: ended by a newer want
        async with self._calling, trio.open_nursery() as nursery:
            nursery.start_soon(self._cancel_when_changed, nursery.cancel_scope)
            try:
                outcome = await publisher.publish(self._desired(addresses))
            except PublishError as error:
                outcome = error
            nursery.cancel_scope.cancel()
        if publisher is not self._publisher:
            return  # another one has its place by now
        if isinstance(outcome, PublishError):
            if outcome.unsent:
                self._not_before = not_before
            self._failed(outcome, addresses)
        elif outcome is not None:
            # It may have left from the network before, which such a provider would have seen.
            stale = publisher.echoes and wants != self._wants
            self._succeeded(publisher, addresses, outcome, stale=stale)

    async def _cancel_when_changed(self, scope: trio.CancelScope) -> None:
        """A newer want cannot be sent before the provider's time: until then the update may go on."""
        await self._changed.wait()
        while self._wanted and trio.current_time() < self._not_before:
            self._changed = trio.Event()
            with trio.move_on_at(self._not_before):
                await self._changed.wait()
        scope.cancel()

    def _succeeded(
        self, publisher: Publisher, addresses: tuple[str, ...], there: tuple[str, ...], *, stale: bool
    ) -> None:
        self._confirmed, self._failures = None if stale else addresses, 0
        self.updates["ok"] += 1
        self.succeeded_at = trio.current_time()
        self._address = there[0] if there else None
        self._refresh_at = trio.current_time() + publisher.refresh_s
        if self._wanted == addresses and not stale:
            self._state, self._error = "ok", None
        log.info("publish.done", extra={"provider": publisher.provider, "addresses": there})
        self._tell(there)

    def _failed(self, error: PublishError, addresses: tuple[str, ...]) -> None:
        now = trio.current_time()
        self.updates["failed"] += 1
        self._not_before = max(self._not_before, now + error.retry_after_s)
        if self._wanted != addresses:
            return  # nobody wants that any more
        self._retry_at = now + _pause_s(self._failures, clock=error.clock) * (1 + JITTER * self._jitter())
        self._failures += 1
        self._state = "refused" if error.permanent else "clock" if error.clock else "pending"
        if str(error) != self._error:
            log.warning("publish.failed", extra={"state": self.state, "error": str(error)})
        self._error = str(error)
        self._tell_failed()


def _pause_s(failures: int, *, clock: bool) -> float:
    """How long to wait after the given number of earlier failures in a row."""
    if clock:
        return CLOCK_RETRY_S if failures < CLOCK_RETRIES else RETRY_MAX_S
    return min(RETRY_S * 2.0 ** min(failures, 16), RETRY_MAX_S)

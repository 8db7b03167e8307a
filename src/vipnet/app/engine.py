"""The core among its shells: what comes in goes to the node, what comes out is done in order."""

from __future__ import annotations

import contextlib
import logging
import math
import time
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from ipaddress import IPv4Network
from typing import Final, cast

import trio

from vipnet.app.movehistory import MoveHistory
from vipnet.app.resolving import Contact
from vipnet.app.traffic import Traffic
from vipnet.core.node import Node
from vipnet.core.outputs import (
    BindingFailed,
    BindingReady,
    Deliver,
    LogEvent,
    LookupResult,
    LookupWanted,
    MoveReport,
    Output,
    OwnKeyCloned,
    PathAnswered,
    Refused,
    SeenAt,
    SessionKeys,
    SessionReady,
    StoreOutput,
    TooBig,
    Transmit,
    UseLocalToken,
)
from vipnet.core.trust import AcceptPolicy, ListedPeer
from vipnet.errors import LookupFailedError, PeerError, UnreachableError
from vipnet.system.lookup import Lookup
from vipnet.system.netwatch import Underlay
from vipnet.system.store import Store
from vipnet.system.tun import PacketDevice
from vipnet.system.udp import DatagramSockets, Received
from vipnet.types import Fqdn, Instant, Locator, PublicKey, Token
from vipnet.wire.offload import Packet

_BACKLOG: Final = 1024  # datagrams that timers wait for: acks of as many partners
# Nobody outside of this process hears of these: what stands before them may be stored later.
_SAYS_NOTHING: Final = (MoveReport, LogEvent, SessionReady, PathAnswered, SeenAt)
_PACKETS: Final = (Transmit, Deliver)  # no task hears of these
_LEVELS: Final = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING}

log = logging.getLogger(__name__)


# Seconds on CLOCK_BOOTTIME: a lease runs out while the host sleeps. On the short way a function costs.
now: Final = cast("Callable[[], Instant]", partial(time.clock_gettime, time.CLOCK_BOOTTIME))


class Engine:
    """Packets, datagrams and timers of the daemon: to the node, and what it says to the world.

    use_local_token  gives tun0 a further address
    cloned           told that another machine seems to have our key
    seen_at          told the address at which a partner reaches this host
    """

    def __init__(
        self,
        node: Node,
        *,
        tun: PacketDevice,
        sockets: DatagramSockets,
        store: Store,
        lookup: Lookup,
        use_local_token: Callable[[Token, Token], None],
        cloned: Callable[[], object] = lambda: None,
        seen_at: Callable[[str], None] = lambda _address: None,
        now: Callable[[], Instant] = now,
    ) -> None:
        self.node, self.lookup = node, lookup
        self.moves = MoveHistory()
        self.counters: Counter[str] = Counter()
        self.key_log: Callable[[SessionKeys], object] = lambda _keys: None
        self.sessions_begun = {"us": 0, "peer": 0}
        self.traffic = Traffic(
            tun,
            sockets,
            self.counters,
            express=node.express,
            packets=self._send_long_way,
            datagrams=self._receive_long_way,
            too_big=self._handle_too_big,
            settle=self._settle,
            now=now,
        )
        self._sockets, self._store = sockets, store
        self._use_local_token, self._now = use_local_token, now
        self._cloned, self._seen_at = cloned, seen_at
        self._waiting: dict[Fqdn, _Waiting] = {}
        self._sessions_at: dict[Fqdn, float] = {}  # the newest with each peer, on trio's clock
        self._pings: dict[Fqdn, set[trio.MemorySendChannel[float]]] = {}
        self._nursery: trio.Nursery | None = None
        self._timer = trio.CancelScope()
        self._timer_at = math.inf

    # --- tasks

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Move packets until cancelled."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            nursery.start_soon(self.traffic.run)
            nursery.start_soon(self._serve_timers)
            self.emit(self.node.start(self._now()))
            task_status.started()

    def _send_long_way(self, packets: Sequence[Packet], now: Instant) -> bool:
        return self.emit(self.node.send_long_way(packets, now))

    def _receive_long_way(self, received: Received, now: Instant) -> bool:
        data, size, source = received.payload, received.segment_size, received.source
        return self.emit(self.node.receive_long_way(data, size, source, now))

    def _settle(self) -> bool:
        """What took the short way has left: note it."""
        self.node.express.settle()
        return self._set_timer()

    def _handle_too_big(self, report: TooBig) -> None:
        self.node.express.settle()
        self.emit(self.node.handle_too_big(report, self._now()))

    async def _serve_timers(self) -> None:
        while True:
            at = self.node.next_timeout()
            self._timer_at = math.inf if at is None else at
            with trio.CancelScope(deadline=self._deadline(self._timer_at)) as self._timer:
                await trio.sleep_forever()
            # What a timer misses may have come in while we did something else.
            self.traffic.hear_waiting(_BACKLOG)
            self.emit(self.node.handle_timeout(self._now()))

    def _begin(self, wanted: LookupWanted) -> None:
        if self._nursery is not None:
            self._nursery.start_soon(self._look_up, wanted)

    async def _look_up(self, wanted: LookupWanted) -> None:
        result = await self.lookup.lookup(
            wanted.name, authoritative=wanted.authoritative, verify=wanted.verify
        )
        self.tell(result)
        if not result.failed:
            await self._know_servers(wanted.name)

    async def _know_servers(self, name: Fqdn) -> None:
        """So that a question to the partner's own servers is one round trip when both have moved."""
        with contextlib.suppress(LookupFailedError):
            await self.lookup.servers(name)

    # --- what the rest of the daemon asks for

    def handle_underlay(self, underlay: Underlay) -> None:
        """The host is elsewhere."""
        locators = tuple(Locator(address.host, self.node.host.port) for address in underlay.addresses)
        indices = {address.host: address.index for address in underlay.addresses}
        self._sockets.use_interfaces(indices, underlay.detours)
        self.emit(self.node.handle_locators(locators, underlay.cause, self._now()))

    def handle_host_networks(self, networks: tuple[IPv4Network, ...]) -> None:
        """These networks of the host lie inside the token subnet."""
        self.emit(self.node.handle_host_networks(networks, self._now()))

    def tell(self, result: LookupResult) -> None:
        """Something more is known of where a peer is."""
        self.emit(self.node.handle_lookup(result, self._now()))

    def expect(self, name: Fqdn) -> None:
        """An application was told the token of NAME."""
        self.emit(self.node.expect(name, self._now()))

    def contact(self, name: Fqdn) -> Contact | None:
        """What is known of NAME, None for a stranger."""
        peer = self.node.peers.get(name)
        if peer is None:
            return None
        has_keys = peer.sessions.sending(self._now()) is not None
        session_at = self._sessions_at.get(name) if has_keys else None
        current = peer.mapping.current
        return Contact(peer.known.trust, peer.key, current, session_at, peer.path_mtu)

    def forget(self, name: Fqdn) -> bool:
        """Remove a peer from the store; False when there was none."""
        outputs = self.node.people.forget(name)
        self._sessions_at.pop(name, None)
        self.emit(outputs)
        return bool(outputs)

    def pin(self, name: Fqdn, key: PublicKey, locators: tuple[Locator, ...]) -> None:
        """NAME has KEY, a person says."""
        self.emit(self.node.people.pin(name, key, locators, self._now()))

    def accept_key(self, name: Fqdn, key: PublicKey) -> None:
        """NAME, a peer, has KEY by now, a person says."""
        self.emit(self.node.people.accept_key(name, key, self._now()))

    def reconfigure(self, accept: AcceptPolicy, listed: Sequence[ListedPeer]) -> None:
        """The configuration says otherwise who may speak to us, and who is known by hand."""
        self.emit(self.node.people.reconfigure(accept, listed, self._now()))

    def log_keys(self, on: bool) -> None:
        """Give the keys of new sessions to `key_log`, or stop that."""
        self.emit(self.node.people.log_keys(on, self._now()))

    def rotate(
        self, private_key: bytes, save: Callable[[bytes], object], *, forget_old: bool = False
    ) -> None:
        """Change our key: SAVE puts it where the next run finds it, and may raise: then nothing has changed.

        The old one is stored before, because from then on only the store has it.
        """
        self.emit([self.node.host.old_key()])
        save(private_key)
        self.emit(self.node.people.rotate(private_key, self._now(), forget_old=forget_old))

    async def bind(self, result: LookupResult) -> Token:
        """A token for the name that RESULT is about. Raise UnreachableError."""
        waiting = self._waiting.setdefault(result.name, _Waiting())
        waiting.count += 1
        try:
            self.emit(self.node.want_binding(result, self._now()))
            await waiting.done.wait()
        finally:
            waiting.count -= 1
            if not waiting.count:
                self._waiting.pop(result.name, None)
        if self._nursery is not None:
            self._nursery.start_soon(self._know_servers, result.name)
        if waiting.token is None:
            raise UnreachableError(f"{result.name} cannot be reached: {waiting.reason}")
        return waiting.token

    async def ping(self, name: Fqdn, within_s: float) -> float | None:
        """The round trip to NAME's daemon in seconds, None when nothing comes back in WITHIN_S."""
        sender, answers = trio.open_memory_channel[float](8)
        self._pings.setdefault(name, set()).add(sender)
        try:
            with trio.move_on_after(within_s):
                while True:
                    self.emit(self.node.people.probe(name, self._now()))
                    with trio.move_on_after(within_s / 4):
                        return await answers.receive()
        finally:
            self._pings[name].discard(sender)
            if not self._pings[name]:
                del self._pings[name]
        return None

    def close(self) -> None:
        """Say good-bye to the partners."""
        self.emit(self.node.shutdown(self._now()))

    # --- outputs

    def emit(self, outputs: Sequence[Output]) -> bool:
        """Do what OUTPUTS say, in their order: stored is stored before anybody hears of it.

        All that is to be stored is one transaction, before the first output that tells somebody:
        each costs a wait for the disk, and an application waits for them all.

        Return whether tasks or their deadlines may have been touched.
        """
        touched, stored, unstored = False, 0, 0  # the latter are places in OUTPUTS
        for place, output in enumerate(outputs, 1):
            if isinstance(output, StoreOutput):
                unstored = place
                continue
            if unstored > stored and not isinstance(output, _SAYS_NOTHING):
                self._store.apply([one for one in outputs if isinstance(one, StoreOutput)])
                stored = len(outputs)
            self._do(output)
            if not isinstance(output, _PACKETS):
                touched = True
        if unstored > stored:
            self._store.apply([one for one in outputs if isinstance(one, StoreOutput)])
        return self._set_timer() or touched

    def _set_timer(self) -> bool:
        """Something may be due earlier than it was. Return whether it is."""
        at = self.node.next_timeout()
        if at is None or at >= self._timer_at:
            return False
        self._timer_at = at
        self._timer.deadline = self._deadline(at)
        return True

    def _do(self, output: Output) -> None:
        match output:
            case Transmit():
                self.traffic.send(output)
            case Deliver():
                self.traffic.deliver(output)
            case Refused():
                self._dropped(output.error, output.source)
            case BindingReady() | BindingFailed():
                self._answer(output)
            case LookupWanted():
                self._begin(output)
            case UseLocalToken() | SeenAt():
                self._note_own_address(output)
            case SessionReady() | PathAnswered() | SessionKeys():
                self._note_contact(output)
            case MoveReport():
                self.moves.add(output)
            case LogEvent() | OwnKeyCloned():
                self._say(output)

    def _say(self, output: LogEvent | OwnKeyCloned) -> None:
        if isinstance(output, OwnKeyCloned):
            self._cloned()
        else:
            log.log(_LEVELS[output.level], output.name, extra=output.fields)

    def _note_own_address(self, output: UseLocalToken | SeenAt) -> None:
        if isinstance(output, SeenAt):
            self._seen_at(output.host)
        else:
            self._use_local_token(output.local, output.remote)

    def _answer(self, output: BindingReady | BindingFailed) -> None:
        waiting = self._waiting.pop(output.name, None)
        if waiting is None:
            return
        if isinstance(output, BindingReady):
            waiting.token = output.token
        else:
            waiting.reason = output.reason
        waiting.done.set()

    def _note_contact(self, output: SessionReady | PathAnswered | SessionKeys) -> None:
        """For `vipnet resolve` and `ping`, and for a key log."""
        if isinstance(output, SessionKeys):
            self.key_log(output)
            return
        if isinstance(output, SessionReady):
            self._sessions_at[output.name] = trio.current_time()
            self.sessions_begun["us" if output.begun_by_us else "peer"] += 1
            log.debug("session.new", extra={"peer": output.name, "begun_by_us": output.begun_by_us})
            return
        for sender in self._pings.get(output.name, ()):
            try:
                sender.send_nowait(output.rtt_s)
            except trio.WouldBlock:
                self.counters["ping_unread"] += 1

    def _dropped(self, error: PeerError, source: Locator) -> None:
        self.counters[f"dropped_{type(error).__name__}"] += 1
        log.debug("datagram.dropped", extra={"from": str(source), "reason": str(error)})

    def _deadline(self, at: float) -> float:
        """An instant on trio's clock."""
        return at if at == math.inf else trio.current_time() + (at - self._now())


class _Waiting:
    """Applications that wait for one name's token."""

    def __init__(self) -> None:
        self.done = trio.Event()
        self.count = 0
        self.token: Token | None = None
        self.reason = "no answer"

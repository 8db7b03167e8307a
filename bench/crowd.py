"""Many hosts in one process: whole nodes with keys, handshakes and sessions of their own.

    python bench/crowd.py SETTINGS.json

Only what is outside of the protocol core is shared: a thread, an epoll, an address;
each host has a socket with a port of its own, where others have a machine. It is led
by lines on standard input and answers each with a line of JSON:

    meet     shake hands with the host of the settings, agree on tokens -> {"met": N}
    talk     an ICMP echo request to its token, from each host          -> {"answered": N}
    clear    forget what has been seen                                  -> {}
    seen     what has arrived since                                     -> {"hosts": [Seen, ...]}

The stamps are the kernel's, taken when a datagram comes in: that this process is
late to read it does not count.
"""

from __future__ import annotations

import contextlib
import heapq
import math
import os
import select
import socket
import sys
import time
from collections.abc import Callable, Sequence
from ipaddress import IPv4Network
from pathlib import Path
from typing import Final

import dpkt
import msgspec
from msgspec import Struct

from vipnet.core.host import Host
from vipnet.core.node import Node
from vipnet.core.outputs import (
    Deliver,
    LookupResult,
    LookupWanted,
    Output,
    PathAnswered,
    StoreClock,
    StoredState,
    Transmit,
)
from vipnet.core.peer import Peer
from vipnet.core.tokens import TokenSpace
from vipnet.core.trust import AcceptPolicy, ListedPeer
from vipnet.errors import PeerError
from vipnet.lab.stamps import ANCILLARY_SIZE, stamp_ns, stamped
from vipnet.policy import DEFAULT_SUBNET, Policy
from vipnet.types import Fqdn, Instant, Locator, PublicKey

_BUFFER: Final = 2**18  # bytes a socket
_DATAGRAM_MAX: Final = 65_535
_AT_ONCE: Final = 16  # handshakes or echo requests under way: this is not what is measured
_WITHIN_S: Final = 60.0
_POLL_S: Final = 0.02


class Member(Struct, frozen=True):
    """One host: its name, private key and port."""

    name: Fqdn
    private_key: bytes
    port: int


class Settings(Struct, frozen=True):
    """The hosts, the address that they share, and whom they speak to."""

    address: str
    members: tuple[Member, ...]
    lease_s: float
    other: Fqdn
    other_key: PublicKey
    other_locator: Locator


class Seen(Struct):
    """What one host has seen of the other's move; times in nanoseconds since 1970.

    hint_ns    the first datagram whose hint was taken over arrived then
    repeated   further datagrams that were answered and answer nothing: the same hint again
    validated  answers to the challenge in our ack: the other side has handled the ack
    """

    hint_ns: int | None = None
    repeated: int = 0
    validated: int = 0


class MemberHost:
    """A node, its socket, and nothing of a machine besides: no tun0, no disk, no DNS."""

    def __init__(self, settings: Settings, member: Member, now: Instant) -> None:
        self._settings = settings
        self.seen = Seen()
        self.echoes = 0
        self.sock = stamped(socket.socket(socket.AF_INET, socket.SOCK_DGRAM), _BUFFER)
        self.sock.bind((settings.address, member.port))
        space = TokenSpace(IPv4Network(DEFAULT_SUBNET), ())
        host = Host(
            member.name,
            member.private_key,
            policy=Policy(lease_s=settings.lease_s),
            space=space,
            accept=AcceptPolicy((), xx=False),
            random_bytes=os.urandom,
            unix_us=lambda: time.time_ns() // 1000,
            clock=StoreClock(0, 0),
            port=member.port,
        )
        other = ListedPeer(settings.other, settings.other_key, (settings.other_locator,), bytes(32))
        self.node = Node(host, StoredState(), [other])
        space.choose_own(member.name, time.time())
        self._emit(self.node.start(now))
        here = (Locator(settings.address, member.port),)
        self._emit(self.node.handle_locators(here, "start", now))

    @property
    def peer(self) -> Peer:
        return self.node.peers[self._settings.other]

    @property
    def met(self) -> bool:
        return self.peer.binding is not None and self.peer.sessions.newest is not None

    def meet(self, now: Instant) -> None:
        settings = self._settings
        at = settings.other_locator
        result = LookupResult(settings.other, (at.host,), settings.other_key, at.port)
        self._emit(self.node.want_binding(result, now))

    def talk(self, now: Instant) -> None:
        binding = self.peer.binding
        if binding is None:
            return
        echo = dpkt.icmp.ICMP(type=dpkt.icmp.ICMP_ECHO, data=dpkt.icmp.ICMP.Echo(id=1, seq=1, data=b"vipnet"))
        packet = dpkt.ip.IP(
            src=binding.local_token.packed,
            dst=binding.remote_token.packed,
            p=dpkt.ip.IP_PROTO_ICMP,
            data=echo,
        )
        packet.len = len(packet)
        self._emit(self.node.handle_packet(bytes(packet), now))

    def receive(self, clock: Callable[[], Instant]) -> None:
        """Handle all that is there."""
        while True:
            try:
                data, ancillary, _, address = self.sock.recvmsg(_DATAGRAM_MAX, ANCILLARY_SIZE)
            except OSError:
                return
            before = self.peer.mapping.move_number
            try:
                outputs = self.node.handle_datagram(data, Locator(*address), clock())
            except PeerError:
                continue
            self._emit(outputs)
            self._note(before, outputs, stamp_ns(ancillary))

    def _note(self, move_number: int, outputs: Sequence[Output], at_ns: int) -> None:
        kinds = {type(output) for output in outputs}
        if self.peer.mapping.move_number != move_number:
            self.seen.hint_ns = at_ns
        elif PathAnswered in kinds:
            self.seen.validated += 1
        elif Transmit in kinds and Deliver not in kinds:
            self.seen.repeated += 1

    def serve(self, now: Instant) -> None:
        self._emit(self.node.handle_timeout(now))

    def _emit(self, outputs: Sequence[Output]) -> None:
        for output in outputs:
            match output:
                case Transmit():
                    # What the kernel refuses is lost, as on any network.
                    with contextlib.suppress(OSError):
                        for one in output.each():
                            self.sock.sendto(one.payload, (one.destination.host, one.destination.port))
                case Deliver():
                    self.echoes += 1
                case LookupWanted():
                    self._emit(self.node.handle_lookup(LookupResult(output.name, failed=True), _now()))


class Crowd:
    """The hosts, and when each wants to be served."""

    def __init__(self, settings: Settings) -> None:
        now = _now()
        self.hosts = [MemberHost(settings, member, now) for member in settings.members]
        self._by_fileno = {host.sock.fileno(): host for host in self.hosts}
        self._due: list[tuple[float, int]] = []
        self._scheduled: dict[int, float] = {}  # the entry of _due that counts
        self._ready = select.epoll()
        for fileno in self._by_fileno:
            self._ready.register(fileno, select.EPOLLIN)

    def listen_to(self, fileno: int) -> None:
        self._ready.register(fileno, select.EPOLLIN)

    def step(self, longest_s: float = -1) -> bool:
        """Wait for something and do it; True when it is not the hosts' business."""
        until_s = max(0.0, self._due[0][0] - _now()) if self._due else longest_s
        wait_s = until_s if longest_s < 0 else min(until_s, longest_s)
        others = False
        for fileno, _ in self._ready.poll(wait_s):
            host = self._by_fileno.get(fileno)
            if host is None:
                others = True
                continue
            host.receive(_now)
            self.reschedule(host)
        now = _now()
        while self._due and self._due[0][0] <= now:
            at, fileno = heapq.heappop(self._due)
            if self._scheduled.get(fileno) == at:
                del self._scheduled[fileno]
                host = self._by_fileno[fileno]
                host.serve(now)
                self.reschedule(host)
        return others

    def reschedule(self, host: MemberHost) -> None:
        at, fileno = host.node.next_timeout(), host.sock.fileno()
        if at is not None and at < self._scheduled.get(fileno, math.inf):
            self._scheduled[fileno] = at
            heapq.heappush(self._due, (at, fileno))

    def everyone(self, act: Callable[[MemberHost, Instant], None], done: Callable[[MemberHost], bool]) -> int:
        """ACT with each host, a few at a time; return of how many DONE became true."""
        waiting, under_way = list(reversed(self.hosts)), list[MemberHost]()
        deadline = _now() + _WITHIN_S
        while (waiting or under_way) and _now() < deadline:
            under_way = [host for host in under_way if not done(host)]
            while waiting and len(under_way) < _AT_ONCE:
                host = waiting.pop()
                act(host, _now())
                self.reschedule(host)
                under_way.append(host)
            self.step(_POLL_S)
        return sum(map(done, self.hosts))


class Leader:
    """Commands of whoever started this process."""

    def __init__(self, crowd: Crowd) -> None:
        self._crowd = crowd

    def answer(self, command: str) -> dict[str, object]:
        hosts = self._crowd.hosts
        match command:
            case "meet":
                return {"met": self._crowd.everyone(MemberHost.meet, lambda host: host.met)}
            case "talk":
                for host in hosts:
                    host.echoes = 0
                return {"answered": self._crowd.everyone(MemberHost.talk, lambda host: host.echoes > 0)}
            case "clear":
                for host in hosts:
                    host.seen = Seen()
                return {}
            case "seen":
                return {"hosts": [host.seen for host in hosts]}
        raise ValueError(f"no command {command!r}")


def _now() -> Instant:
    return Instant(time.clock_gettime(time.CLOCK_BOOTTIME))


def main() -> None:
    crowd = Crowd(msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=Settings))
    leader = Leader(crowd)
    crowd.listen_to(sys.stdin.fileno())
    print("{}", flush=True)
    while True:
        if crowd.step():
            line = sys.stdin.readline()
            if not line:
                return
            print(msgspec.json.encode(leader.answer(line.strip())).decode(), flush=True)


if __name__ == "__main__":
    main()

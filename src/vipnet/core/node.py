"""The whole protocol of one host, without I/O: what comes in, and which part serves it.

    packets of applications    outbound
    datagrams, sealed          inbound, and what that leads to: moving, replay, keychange
    datagrams of a handshake   responder, contacts, handshakes
    reports of small MTUs      probing
    addresses of this host     moving, binding
    answers of DNS             responder, moving, contacts
    what people say            people
    time                       deadlines

Inputs are methods with `now`; what is to be done comes back as outputs. Ask
next_timeout() after each call and serve it with handle_timeout().
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Network

from vipnet.core import binding, deadlines, handshakes, inbound, moving, outbound, probing
from vipnet.core.contacts import Contacts
from vipnet.core.deadlines import is_due
from vipnet.core.express import Express
from vipnet.core.firstcontact import FirstContact
from vipnet.core.host import Host
from vipnet.core.initiator import Initiation
from vipnet.core.moves import MoveLog
from vipnet.core.outputs import (
    BindingFailed,
    BindingReady,
    Deliver,
    LookupResult,
    Output,
    Refused,
    StoredState,
    StorePeer,
    TooBig,
    Transmit,
)
from vipnet.core.peer import Peer
from vipnet.core.people import People
from vipnet.core.ratelimit import PerSecond
from vipnet.core.responder import Responder
from vipnet.core.schedule import Schedule
from vipnet.core.trust import ListedPeer
from vipnet.errors import PeerError, ProtocolError
from vipnet.policy import LOCATORS_MAX
from vipnet.types import Fqdn, Instant, Locator
from vipnet.wire.control import Close
from vipnet.wire.datagram import is_handshake
from vipnet.wire.handshake import FROM_INITIATOR, CookieReply, HandshakeDatagram, decode_handshake
from vipnet.wire.inner import parse_ipv4
from vipnet.wire.offload import Packet

_TOO_BIG_PER_S = 50  # reports of routers that are looked at; anyone can forge some


class Node:
    """Who is meant by a packet, a datagram, an answer or a timer, and when each is served next."""

    def __init__(self, host: Host, stored: StoredState, listed: Iterable[ListedPeer] = ()) -> None:
        self.host = host
        self.peers: dict[Fqdn, Peer] = {}
        self.moves = MoveLog(first_id=1)
        self.contacts = Contacts(host, listed, self._add_peer, self._reschedule)
        self._responder = Responder(
            host, self.peers, self._add_peer, self._reschedule, self.contacts.call_back
        )
        self._schedule = Schedule()
        self.express = Express(host, self._schedule)
        self.people = People(
            host, self.peers, self.contacts, self._schedule, add_peer=self._add_peer, finish=self._finish
        )
        self._too_big_limit = PerSecond(_TOO_BIG_PER_S)
        self._at_start: list[Output] = [*host.space.load(stored), *host.load_old_keys(stored.old_keys)]
        for known in stored.peers:
            peer = self._add_peer(known)
            if peer.known != known:
                self._at_start.append(peer.known)
        self._at_start += self.contacts.add_listed(self.peers)

    def start(self, now: Instant) -> list[Output]:
        """Speak to those who were active partners before the restart, at once."""
        outputs, self._at_start = self._at_start, []
        for peer in self.peers.values():
            outputs += binding.show(peer)
            if peer.known.active:
                peer.last_traffic = now
                peer.want_handshake(now)
                self._reschedule(peer)
        return outputs + self._serve_due(now)

    def shutdown(self, now: Instant) -> list[Output]:
        """Tell every partner that our sessions are void from now on."""
        outputs: list[Output] = []
        for peer in self.peers.values():
            if peer.active(now):
                outputs += peer.seal_to_current(Close("going down"), now)
            if peer.save_at is not None:
                outputs.append(peer.remember())
        return outputs

    # --- applications

    def handle_packets(self, packets: Sequence[Packet], now: Instant) -> list[Output]:
        """Packets that applications sent to tokens, in their order; super-packets are overwritten."""
        if len(packets) == 1 and (alone := self.express.send(packets[0], now)):
            self.express.settle()
            return [alone]
        sent, rest = self.express.send_several(packets, now)
        return [*sent, *self.send_long_way(rest, now)]

    def send_long_way(self, packets: Sequence[Packet], now: Instant) -> list[Output]:
        """The same, for whoever has tried `express` himself."""
        self.express.settle()
        outputs: list[Output] = []
        for peer, group in outbound.by_peer(self.host, packets):
            if peer is None:
                outputs += outbound.refuse(self.host, group[0], now)
            else:
                outputs += outbound.handle_packets(peer, group, now) + self._serve_own(peer, now)
        return outputs

    def handle_packet(self, packet: bytes, now: Instant) -> list[Output]:
        """One complete packet. Raise WireError when it is no IPv4 packet."""
        parse_ipv4(packet)
        return self.handle_packets([Packet(packet)], now)

    def want_binding(self, result: LookupResult, now: Instant) -> list[Output]:
        """An application asks for a VIP name that DNS said RESULT of, or that is known.

        BindingReady or BindingFailed follows, within policy.resolve_timeout_s.
        """
        outputs: list[Output] = []
        if result.name == self.host.name or self.host.has_key(result.key):
            return [BindingFailed(result.name, "DNS has our own key for it")]
        peer = self.peers.get(result.name)
        if peer is None and result.key is not None:
            known = StorePeer(result.name, result.key, "dnssec" if result.secure else "dns", contacted=True)
            peer = self._add_peer(known)
            outputs.append(peer.known)
        if peer is None:
            return self._finish(outputs + self.contacts.want(result, now), now)
        if not peer.known.contacted:
            outputs.append(peer.remember(contacted=True))
        if peer.binding is not None:
            outputs.append(BindingReady(peer.name, peer.binding.remote_token))
        else:
            peer.wanted_until = Instant(now + self.host.policy.resolve_timeout_s)
            peer.initiator.hurry(now)
        outputs += moving.handle_lookup(peer, result, now)
        return self._finish(outputs, now, peer)

    def expect(self, name: Fqdn, now: Instant) -> list[Output]:
        """An application was told the token of NAME: see behind its back that the mapping is true."""
        peer = self.peers.get(name)
        if peer is None or outbound.is_prepared(peer, now):
            return []
        return self._finish(outbound.expect(peer, now), now, peer)

    # --- the network

    def handle_datagrams(
        self, data: bytes | memoryview, segment_size: int, source: Locator, now: Instant
    ) -> list[Output]:
        """Datagrams that came together: SEGMENT_SIZE bytes each, the last perhaps shorter."""
        if segment_size >= len(data):
            alone = self.express.receive(data, source, now)
            delivered = [alone] if alone else []
        else:
            delivered = self.express.receive_several(data, segment_size, source, now)
        self.express.settle()
        return [*delivered] or self.receive_long_way(data, segment_size, source, now)

    def receive_long_way(
        self, data: bytes | memoryview, segment_size: int, source: Locator, now: Instant
    ) -> list[Output]:
        """The same, for whoever has tried `express` himself."""
        self.express.settle()
        outputs, errors = self._receive(memoryview(data), segment_size, source, now)
        outputs += [Refused(error, source) for error in errors]
        return self._report(outputs)

    def handle_datagram(self, data: bytes, source: Locator, now: Instant) -> list[Output]:
        """One datagram. Raise PeerError for what is not acceptable: count it and go on."""
        delivered = self.express.receive(data, source, now)
        self.express.settle()
        if delivered:
            return [delivered]
        outputs, errors = self._receive(memoryview(data), max(len(data), 1), source, now)
        if errors and not outputs:
            raise errors[0]
        return self._report(outputs)

    def _receive(
        self, data: memoryview, segment_size: int, source: Locator, now: Instant
    ) -> tuple[list[Output], list[PeerError]]:
        """Take DATA apart as far as its datagrams belong to different sessions."""
        outputs: list[Output] = []
        errors: list[PeerError] = []
        while True:
            consumed = segment_size
            try:
                datagram = data[:segment_size]
                if is_handshake(datagram):
                    outputs += self._handle_handshake(decode_handshake(bytes(datagram)), source, now)
                else:
                    owner, session = inbound.session_of(self.host, datagram)
                    done, refused, consumed = inbound.handle_sealed(
                        owner, session, data, segment_size, source, now
                    )
                    if consumed < len(data):
                        done = [_kept(output) for output in done]  # the rest is opened in the same memory
                    outputs += done + self._serve_own(owner, now)
                    errors += refused
            except PeerError as error:
                errors.append(error)
            if consumed >= len(data):
                return outputs, errors
            data = data[consumed:]

    def _handle_handshake(
        self, datagram: HandshakeDatagram | CookieReply, source: Locator, now: Instant
    ) -> list[Output]:
        if isinstance(datagram, HandshakeDatagram) and datagram.type in FROM_INITIATOR:
            return self._finish(self._responder.handle(datagram, source, now), now)
        owner, attempt = self.host.indexes.get(datagram.receiver, (None, None))
        if owner is None or not isinstance(attempt, Initiation):
            raise ProtocolError("answer to a handshake that we did not begin")
        if isinstance(datagram, CookieReply):
            # The other side is under load: the same try again, with the cookie.
            again = owner.initiator.read_cookie(attempt, datagram, now)
            return self._finish([Transmit(again, source)], now, owner)
        if isinstance(owner, FirstContact):
            outputs = self.contacts.meet(owner, attempt, datagram, source, now)
        else:
            outputs = handshakes.handle_response(owner, attempt, datagram, source, now)
        return self._finish(outputs, now, owner)

    def handle_too_big(self, report: TooBig, now: Instant) -> list[Output]:
        """A datagram did not pass a link, or somebody says so."""
        if not report.local and self._too_big_limit.exceeded(now):
            self.host.count("too_big_ignored")
            return []
        outputs: list[Output] = []
        for peer in self.peers.values():
            outputs += probing.handle_too_big(peer, report, now)
        return self._finish(outputs, now, *self.peers.values())

    # --- this host

    def handle_locators(self, locators: tuple[Locator, ...], cause: str, now: Instant) -> list[Output]:
        """This host is now at LOCATORS, best first; () while it is nowhere."""
        locators = locators[:LOCATORS_MAX]
        old = self.host.locators
        if locators == old and cause != "wake":
            return self._handle_path_event(now)
        self.host.locators = locators
        self.host.next_move_number()
        self.moves.begin(cause, old, locators, now)
        outputs: list[Output] = []
        told, all_told = 0, sum(peer.active(now) for peer in self.peers.values())
        # Whoever spoke last is the likeliest to wait for us.
        for peer in sorted(self.peers.values(), key=_last_traffic, reverse=True):
            # All hints leave first, then acks come in the same order.
            outputs += moving.handle_own_move(peer, now, all_told + told)
            told += peer.hints is not None
            self._reschedule(peer)
        for contact in self.contacts:
            if contact.initiator.active:
                contact.initiator.begin(now)
                self._reschedule(contact)
        return [*self._finish(outputs, now), self.host.clock]

    def _handle_path_event(self, now: Instant) -> list[Output]:
        outputs: list[Output] = []
        for peer in self.peers.values():
            outputs += moving.handle_path_event(peer, now)
        return self._finish(outputs, now, *self.peers.values())

    def handle_host_networks(self, networks: tuple[IPv4Network, ...], now: Instant) -> list[Output]:
        """The host has addresses inside the token subnet: tokens in their way are given up."""
        self.host.space.set_host_networks(networks)
        outputs: list[Output] = []
        for conflict in self.host.space.conflicts():
            peer = self.peers.get(conflict.name)
            if peer is not None:
                step = peer.negotiation.revoke(self.host.unix_s, now)
                outputs += binding.apply(peer, step, now)
                self._reschedule(peer)
        return self._finish(outputs, now)

    def handle_tun_mtu(self, mtu: int) -> None:
        """tun0 makes packets of up to MTU bytes from now on."""
        self.host.tun_mtu = mtu
        for peer in self.peers.values():
            peer.mtus.forget()
            peer.lane = None

    # --- DNS

    def handle_lookup(self, result: LookupResult, now: Instant) -> list[Output]:
        """The answer to a LookupWanted; every one has to be answered, if only by `failed`."""
        outputs = self._responder.handle_lookup(result, now)
        peer = self.peers.get(result.name)
        if peer is not None:
            outbound.end_lookup(peer)
            outputs += moving.handle_lookup(peer, result, now)
            self._reschedule(peer)
        contact = self.contacts.get(result.name)
        if contact is not None:
            contact.add_looked_up(result)
            self._reschedule(contact)
        return self._finish(outputs, now)

    # --- time

    def next_timeout(self) -> Instant | None:
        return self._schedule.next_timeout()

    def handle_timeout(self, now: Instant) -> list[Output]:
        return self._finish(self.host.expire_old_keys(), now)

    # --- inside

    def _add_peer(self, known: StorePeer) -> Peer:
        psk = self.contacts.psk(known.name)
        peer = Peer(self.host, self.moves, known, self.host.space.binding(known.name), psk)
        self.peers[known.name] = peer
        contact = self.contacts.end(known.name)
        if contact is not None:
            # The key is known now, whoever spoke first: no other may take its place.
            peer.wanted_until = contact.wanted_until
            self._schedule.forget(known.name)
        return peer

    def _finish(self, outputs: list[Output], now: Instant, *owners: Peer | FirstContact) -> list[Output]:
        """What became due by an input is done before it returns; OWNERS have other deadlines now."""
        for owner in owners:
            self._reschedule(owner)
        return self._report(outputs + self._serve_due(now))

    def _report(self, outputs: list[Output]) -> list[Output]:
        report = self.moves.take_report()
        if report is not None:
            outputs.append(report)
        return outputs

    def _serve_own(self, peer: Peer, now: Instant) -> list[Output]:
        """What a datagram or packet made due for its own peer.

        Others wait for handle_timeout: what they miss may be the next in the socket.
        """
        outputs: list[Output] = []
        at = peer.next_timeout()
        self._schedule.ask(peer.name, at)
        while is_due(at, now):
            outputs += deadlines.serve(peer, now)
            at = self._reschedule(peer)
        return outputs

    def _serve_due(self, now: Instant) -> list[Output]:
        outputs: list[Output] = []
        for name in self._schedule.due(now):
            # A first contact may have become a peer meanwhile, and either be forgotten.
            owner = self.peers.get(name) or self.contacts.get(name)
            if owner is None:
                continue
            if isinstance(owner, Peer):
                outputs += deadlines.serve(owner, now)
            else:
                outputs += self._serve_contact(owner, now)
            self._reschedule(owner)
        return outputs

    def _serve_contact(self, contact: FirstContact, now: Instant) -> list[Output]:
        if contact.claimed is not None and is_due(contact.give_up_at, now):
            self._responder.refuse(contact.name, contact.claimed, now)
            return self.contacts.give_up(contact)
        return contact.handle_timeout(now)

    def _reschedule(self, owner: Peer | FirstContact) -> Instant | None:
        """Have OWNER served at its next deadline, and return that."""
        if isinstance(owner, FirstContact) and owner is not self.contacts.get(owner.name):
            return None  # it is a peer now, or given up
        if isinstance(owner, Peer):
            owner.lane = None
        at = owner.next_timeout()
        self._schedule.ask(owner.name, at)
        return at


def _kept(output: Output) -> Output:
    """OUTPUT, which outlives the next datagram."""
    return Deliver(bytes(output.packet), output.offload) if isinstance(output, Deliver) else output


def _last_traffic(peer: Peer) -> float:
    return peer.last_traffic or 0.0

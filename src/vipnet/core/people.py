"""What people say: whom to trust, whom to forget, which key is ours."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

from vipnet.core import binding, keychange, outbound
from vipnet.core.contacts import Contacts
from vipnet.core.host import Host
from vipnet.core.outputs import DropPeer, Output, StorePeer
from vipnet.core.peer import Peer
from vipnet.core.schedule import Schedule
from vipnet.core.trust import AcceptPolicy, ListedPeer
from vipnet.types import Fqdn, Instant, Locator, PublicKey


class Finish(Protocol):
    """Do what became due: OWNERS have other deadlines now. Return OUTPUTS and what that led to."""

    def __call__(self, outputs: list[Output], now: Instant, /, *owners: Peer) -> list[Output]: ...


class People:
    """Serves what is said about PEERS and this host's key.

    add_peer  has the node know another peer
    finish    the node's, after something was done for peers
    """

    def __init__(
        self,
        host: Host,
        peers: dict[Fqdn, Peer],
        contacts: Contacts,
        schedule: Schedule,
        *,
        add_peer: Callable[[StorePeer], Peer],
        finish: Finish,
    ) -> None:
        self._host, self._peers, self._contacts, self._schedule = host, peers, contacts, schedule
        self._add_peer, self._finish = add_peer, finish

    def probe(self, name: Fqdn, now: Instant) -> list[Output]:
        """Challenge the peer where it is now; PathAnswered follows if it is there."""
        peer = self._peers.get(name)
        if peer is None:
            return []
        current = peer.mapping.current
        outputs = peer.challenge([] if current is None else [current], now)
        if not outputs:
            peer.want_handshake(now)
        return self._finish(outputs, now, peer)

    def forget(self, name: Fqdn) -> list[Output]:
        """Know NAME no more: DNS decides again what it is. Its token goes to no other name for long."""
        peer = self._peers.pop(name, None)
        if peer is None:
            return []
        self._schedule.forget(name)
        outbound.end_lookup(peer)
        self._host.forget_indexes([session.local_index for session in peer.sessions.all()])
        self._host.forget_indexes(peer.initiator.stop())
        peer.stash.clear()
        peer.flows.clear()
        outputs = binding.absorb(peer, peer.negotiation.release(self._host.unix_s))
        return [*outputs, DropPeer(name)]

    def pin(self, name: Fqdn, key: PublicKey, locators: tuple[Locator, ...], now: Instant) -> list[Output]:
        """Somebody says that NAME, known or not, has KEY and is at LOCATORS."""
        if name not in self._peers:
            peer = self._add_peer(StorePeer(name, key, "pinned", locators=locators))
            return [peer.known]
        self._peers[name].mapping.add_looked_up(locators)
        return self.accept_key(name, key, now)

    def reconfigure(self, accept: AcceptPolicy, listed: Iterable[ListedPeer], now: Instant) -> list[Output]:
        """Others may speak to us, and others are written down by hand, from now on; sessions go on."""
        self._host.accept = accept
        changed = self._contacts.relist(listed)
        for name, peer in self._peers.items():
            peer.psk = self._contacts.psk(name)
        outputs: list[Output] = []
        for entry in changed:
            if entry.key is not None:
                outputs += self.pin(entry.name, entry.key, entry.locators, now)
            elif entry.name in self._peers:
                self._peers[entry.name].mapping.add_looked_up(entry.locators)
        return outputs

    def accept_key(self, name: Fqdn, key: PublicKey, now: Instant) -> list[Output]:
        """Somebody says that NAME, which is known, has KEY."""
        peer = self._peers[name]
        return self._finish(keychange.accept(peer, key, now), now, peer)

    def rotate(self, private_key: bytes, now: Instant, *, forget_old: bool = False) -> list[Output]:
        """This host has another key: partners with a session learn it now, others when they come back.

        forget_old  nobody is told, and the old key opens nothing any more: it may be in wrong hands
        """
        outputs = self._host.rotate(private_key)
        if forget_old:
            outputs += self._host.forget_old_keys()
        for peer in self._peers.values():
            outputs += peer.use_own_key(self._host.key) if forget_old else keychange.announce(peer, now)
        return self._finish(outputs, now, *self._peers.values())

    def log_keys(self, on: bool, now: Instant) -> list[Output]:
        """Give away the keys of sessions made from now on, or stop that; active partners get one at once.

        What was sealed before stays sealed: nobody has kept those keys.
        """
        self._host.logs_keys = on
        if not on:
            return []
        active = [peer for peer in self._peers.values() if peer.active(now)]
        for peer in active:
            peer.want_handshake(now)
        return self._finish([], now, *active)

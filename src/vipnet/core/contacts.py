"""Hosts whose keys DNS does not have: who is being asked for one, and what comes of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from vipnet.core import binding, handshakes
from vipnet.core.firstcontact import FirstContact
from vipnet.core.host import Host
from vipnet.core.initiator import Initiation
from vipnet.core.locators import usable_only
from vipnet.core.outputs import BindingFailed, LogEvent, LookupResult, Output, StorePeer, Transmit
from vipnet.core.peer import Peer
from vipnet.core.trust import ListedPeer
from vipnet.errors import ProtocolError
from vipnet.types import Fqdn, Instant, Locator, PublicKey, fingerprint
from vipnet.wire.handshake import HandshakeDatagram


class Contacts:
    """First contacts under way, and the peers that were written down by hand.

    add_peer    a key is known now: the node takes it from there, and ends the contact
    reschedule  tells the node that a contact or peer has other deadlines
    """

    def __init__(
        self,
        host: Host,
        listed: Iterable[ListedPeer],
        add_peer: Callable[[StorePeer], Peer],
        reschedule: Callable[[Peer | FirstContact], object],
    ) -> None:
        self._host, self._add_peer, self._reschedule = host, add_peer, reschedule
        self._listed = {peer.name: peer for peer in listed}
        self._by_hand: dict[Fqdn, ListedPeer] = {}  # for the moment: `vipnet trust add` without a key
        self._contacts: dict[Fqdn, FirstContact] = {}

    def __iter__(self) -> Iterator[FirstContact]:
        return iter(self._contacts.values())

    def get(self, name: Fqdn) -> FirstContact | None:
        return self._contacts.get(name)

    def psk(self, name: Fqdn) -> bytes:
        listed = self._listed.get(name)
        return bytes(32) if listed is None else listed.psk

    def add_listed(self, peers: Mapping[Fqdn, Peer]) -> list[Output]:
        """Peers written down by hand, and PEERS, who are stored: no trust is stronger than theirs."""
        outputs: list[Output] = []
        for listed in self._listed.values():
            known = peers.get(listed.name)
            if listed.key is not None:
                outputs += self._pin(known, listed, listed.key)
            if known is not None:
                known.mapping.add_looked_up(listed.locators)
        return outputs

    def relist(self, listed: Iterable[ListedPeer]) -> list[ListedPeer]:
        """LISTED are written down from now on; return those that are new, or other than before.

        Who is listed no more stays known, as after a restart: `vipnet trust remove` forgets a peer.
        """
        before, self._listed = self._listed, {peer.name: peer for peer in listed}
        return [peer for peer in self._listed.values() if before.get(peer.name) != peer]

    def _pin(self, known: Peer | None, listed: ListedPeer, key: PublicKey) -> list[Output]:
        if known is not None and known.key == key:
            return [] if known.known.trust == "pinned" else [known.remember(trust="pinned")]
        if known is not None and known.known.trust == "pinned" and key in known.known.previous_keys:
            # The pinned key has announced another since that was written.
            fields = {"peer": known.name, "known": fingerprint(known.key)}
            return [LogEvent("trust.configured_key_is_outdated", fields, "warning")]
        own_key = None if known is None else known.known.own_key
        stored = StorePeer(listed.name, key, "pinned", locators=listed.locators, own_key=own_key)
        return [self._add_peer(stored).known]

    def list_for_now(self, name: Fqdn, locators: tuple[Locator, ...]) -> None:
        """NAME may be asked for its key, at LOCATORS besides what DNS says."""
        self._by_hand[name] = ListedPeer(name, None, locators)

    def unlist(self, name: Fqdn) -> None:
        self._by_hand.pop(name, None)

    def want(self, result: LookupResult, now: Instant) -> list[Output]:
        """An application asks for a name of which no key is known."""
        listed = self._listed.get(result.name) or self._by_hand.get(result.name)
        if listed is None:
            return [BindingFailed(result.name, "its key is not known")]
        contact = self._contacts.get(result.name)
        if contact is None or contact.claimed is not None:
            self.end(result.name)
            contact = self._contacts[result.name] = FirstContact(self._host, listed)
        contact.add_looked_up(result)
        contact.want(now)
        self._reschedule(contact)
        return []

    def call_back(self, key: PublicKey, result: LookupResult, source: Locator, now: Instant) -> None:
        """Somebody at SOURCE shows KEY as that of a name of which DNS has addresses only."""
        if result.name in self._contacts:
            return  # one at a time
        listed = self._listed.get(result.name, ListedPeer(result.name))
        contact = self._contacts[result.name] = FirstContact(self._host, listed, key)
        contact.call_back(result, source, now)
        self._reschedule(contact)

    def meet(
        self,
        contact: FirstContact,
        attempt: Initiation,
        datagram: HandshakeDatagram,
        source: Locator,
        now: Instant,
    ) -> list[Output]:
        """Message 2: from now on the peer has a key, and a place in the store."""
        if contact.claimed is not None:
            return self._meet_claimed(contact, contact.claimed, attempt, datagram, source, now)
        host = self._host
        key = contact.initiator.read_xx_2(attempt, datagram)
        if host.has_key(key):
            raise ProtocolError(f"{contact.name} answers with our own key")
        peer = self._add_peer(StorePeer(contact.name, key, "tofu", contacted=True))
        peer.mapping.add_looked_up(usable_only([source], host.space.subnet, host.locators))
        step = peer.negotiation.opening(host.unix_s)
        message, completed = contact.initiator.write_xx_3(attempt, datagram, source, step.messages, now)
        outputs: list[Output] = [peer.known, *binding.absorb(peer, step), host.clock]
        outputs.append(Transmit(message, source))
        outputs += handshakes.complete(peer, completed, source, now)
        self._reschedule(peer)
        return outputs

    def _meet_claimed(
        self,
        contact: FirstContact,
        key: PublicKey,
        attempt: Initiation,
        datagram: HandshakeDatagram,
        source: Locator,
        now: Instant,
    ) -> list[Output]:
        """Message 2 of IK to a claimed key: it is at home where DNS says that the name is."""
        completed = contact.initiator.read_response(attempt, datagram, now)
        if completed is None:
            return []
        peer = self._add_peer(StorePeer(contact.name, key, "callback"))
        outputs: list[Output] = [peer.known, *handshakes.complete(peer, completed, source, now)]
        self._reschedule(peer)
        return outputs

    def end(self, name: Fqdn) -> FirstContact | None:
        """The contact with NAME is over, whatever came of it."""
        contact = self._contacts.pop(name, None)
        if contact is not None:
            self._host.forget_indexes(contact.initiator.stop())
        return contact

    def give_up(self, contact: FirstContact) -> list[Output]:
        """Nobody with the claimed key is at the name's address."""
        self.end(contact.name)
        self._host.count("not_called_back")
        return [LogEvent("accept.no_answer_at_its_address", {"peer": contact.name}, "warning")]

"""Handshakes that others begin: whom to answer, and when.

A stranger gets nothing until DNS has vouched for the name it claims: its init is
held meanwhile. Everything it can make us keep or compute is bounded.
"""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct

from vipnet.core import binding, handshakes, keychange
from vipnet.core.host import Host, OwnKey
from vipnet.core.locators import usable
from vipnet.core.outputs import LogEvent, LookupResult, LookupWanted, Output, StorePeer, Transmit
from vipnet.core.peer import Peer
from vipnet.core.ratelimit import PerSecond
from vipnet.core.session import Arrival, Session
from vipnet.crypto.cookie import CookieJar, add_macs, verify_mac1
from vipnet.crypto.noise import IKPSK2, XX, NoiseHandshake, prologue
from vipnet.crypto.transport import Cipher, choose_cipher, transport_keys
from vipnet.errors import PeerError, ProtocolError
from vipnet.types import Fqdn, Instant, Locator, PublicKey
from vipnet.wire.control import TokenMessage
from vipnet.wire.handshake import (
    HandshakeDatagram,
    HandshakeType,
    InitPayload,
    ResponsePayload,
    StalePayload,
    decode_init_payload,
    encode_payload,
)

_HELD_S = 10.0  # the initiator has tried again several times by then
_XX_PENDING_MAX = 64
_XX_PENDING_S = 10.0


class _Claim(Struct, frozen=True):
    """A whole, authentic init to our key OWN: KEY has it that its host is called payload.name."""

    own: OwnKey
    payload: InitPayload
    key: PublicKey
    noise: NoiseHandshake
    datagram: HandshakeDatagram
    source: Locator
    own_index: int | None  # of an XX handshake


class Responder:
    """`peers` and `add_peer` are the node's.

    reschedule  tells it that a peer has other deadlines
    call_back   has it ask at the addresses that DNS has for a name whether a claim is true
    """

    def __init__(
        self,
        host: Host,
        peers: dict[Fqdn, Peer],
        add_peer: Callable[[StorePeer], Peer],
        reschedule: Callable[[Peer], object],
        call_back: Callable[[PublicKey, LookupResult, Locator, Instant], object],
    ) -> None:
        self._host, self._peers, self._add_peer = host, peers, add_peer
        self._reschedule, self._call_back = reschedule, call_back
        self._jar = CookieJar(host.random_bytes(32))
        self._held: dict[tuple[Fqdn, PublicKey], tuple[_Claim, Instant]] = {}
        self._refused: dict[tuple[Fqdn, PublicKey], Instant] = {}
        self._xx: dict[int, tuple[OwnKey, NoiseHandshake, Instant]] = {}
        self._inits = PerSecond(host.policy.stranger_inits_per_s)

    def handle(self, datagram: HandshakeDatagram, source: Locator, now: Instant) -> list[Output]:
        """A datagram of FROM_INITIATOR. Raise PeerError when it is not acceptable."""
        if datagram.type is HandshakeType.IK_INIT:
            return self.handle_ik_init(datagram, source, now)
        if datagram.type is HandshakeType.XX_1:
            return self.handle_xx_1(datagram, source, now)
        return self.handle_xx_3(datagram, source, now)

    # --- first messages

    def handle_ik_init(self, datagram: HandshakeDatagram, source: Locator, now: Instant) -> list[Output]:
        """Message 1 of IK. Raise PeerError when it is not for us or not allowed."""
        host = self._host
        own = self._meant(datagram)
        if not usable(source, host.space.subnet, host.locators):
            raise ProtocolError(f"init from {source}")
        if self._inits.exceeded(now) and not self._jar.verify_mac2(datagram, source, now):
            return self._cookie(datagram, source, own.public, now)
        noise = NoiseHandshake(
            IKPSK2,
            initiator=False,
            static=own.private,
            ephemeral=host.random_bytes(32),
            prologue=prologue(IKPSK2),
        )
        payload = decode_init_payload(noise.read(datagram.noise))
        return self._decide(_claim(payload, own, noise, datagram, source, None), now)

    def _meant(self, datagram: HandshakeDatagram) -> OwnKey:
        """Which of our keys the init is for. Raise ProtocolError when it is for none."""
        for own in self._host.own_keys:
            if verify_mac1(own.public, datagram):
                return own
        raise ProtocolError("init for another key")

    def handle_xx_1(self, datagram: HandshakeDatagram, source: Locator, now: Instant) -> list[Output]:
        """Message 1 of XX: answered only where configured, and after a cookie."""
        host = self._host
        if not host.accept.xx:
            raise ProtocolError("XX is not accepted here")
        if not verify_mac1(None, datagram) or not usable(source, host.space.subnet, host.locators):
            raise ProtocolError(f"XX init from {source}")
        if not self._jar.verify_mac2(datagram, source, now):
            return self._cookie(datagram, source, None, now)
        self._forget_old_xx(now)
        noise = NoiseHandshake(
            XX,
            initiator=False,
            static=host.key.private,
            ephemeral=host.random_bytes(32),
            prologue=prologue(XX),
        )
        noise.read(datagram.noise)
        index = host.new_index()
        self._xx[index] = (host.key, noise, now)
        answer = HandshakeDatagram(HandshakeType.XX_2, index, datagram.sender, noise.write(b""))
        return [Transmit(add_macs(answer, None).encode(), source)]

    def handle_xx_3(self, datagram: HandshakeDatagram, source: Locator, now: Instant) -> list[Output]:
        """Message 3 of XX: now we know who it is."""
        pending = self._xx.get(datagram.receiver)
        if pending is None or now - pending[2] > _XX_PENDING_S:
            raise ProtocolError("XX message 3 without its message 2")
        own, noise, _ = pending
        if not verify_mac1(own.public, datagram):
            raise ProtocolError("XX message 3 for another key")
        payload = decode_init_payload(noise.read(datagram.noise))
        del self._xx[datagram.receiver]
        return self._decide(_claim(payload, own, noise, datagram, source, datagram.receiver), now)

    # --- whom to answer

    def _decide(self, claim: _Claim, now: Instant) -> list[Output]:
        name, host = claim.payload.name, self._host
        if claim.key == host.public_key and claim.payload.boot_id != host.boot_id:
            return keychange.handle_cloned(host, name, now)
        if name == host.name or host.has_key(claim.key):
            raise ProtocolError("somebody else with our own key or name")
        peer = self._peers.get(name)
        if not (host.accept.allows(name) or (peer is not None and _always_allowed(peer))):
            host.count("not_accepted")
            raise ProtocolError(f"{name} may not open a session to us (accept.from)")
        if peer is None:
            return self._hold(claim, now)
        if claim.key == peer.key:
            if peer.runs.refuses(claim.payload.boot_id, now):
                host.count("cloned_key")
                raise ProtocolError(f"{name} knocks from a machine with a copied key")
            return self._answer(peer, claim, now)
        if claim.key in peer.known.previous_keys:
            outputs = keychange.handle_previous_key(peer, claim.own, claim.source, now)
            self._reschedule(peer)
            return outputs
        if peer.known.trust == "pinned":
            return keychange.refuse(peer, claim.key, None)
        return self._hold(claim, now)

    def _hold(self, claim: _Claim, now: Instant) -> list[Output]:
        """Keep CLAIM, and ask DNS whether it is true."""
        name, host = claim.payload.name, self._host
        # By name and key: a false claim must not stand in the way of the true host.
        refused_at = self._refused.get((name, claim.key))
        if refused_at is not None and now - refused_at < host.policy.refused_cache_s:
            raise ProtocolError(f"DNS did not vouch for {name} a moment ago")
        self._forget_old_claims(now)
        asked = any(held_name == name for held_name, _ in self._held)
        if (name, claim.key) not in self._held and len(self._held) >= host.policy.pending_inits:
            host.count("pending_inits_full")
            return []
        self._held[name, claim.key] = (claim, now)
        if asked:
            return []
        # A resolver may remember the key that a known peer had before.
        known = name in self._peers
        return [LookupWanted(name, "who claims this name", authoritative=known, verify=True)]

    def handle_lookup(self, result: LookupResult, now: Instant) -> list[Output]:
        """DNS said which key NAME has: answer the init that waits for it, or forget it."""
        claims = [claim for (name, _), (claim, _) in self._held.items() if name == result.name]
        self._held = {held: value for held, value in self._held.items() if held[0] != result.name}
        outputs: list[Output] = []
        for claim in claims:
            try:
                outputs += self._handle_verdict(claim, result, now)
            except PeerError as error:
                fields = {"peer": result.name, "error": str(error)}
                outputs.append(LogEvent("accept.failed", fields, "warning"))
        return outputs

    def _handle_verdict(self, claim: _Claim, result: LookupResult, now: Instant) -> list[Output]:
        peer = self._peers.get(result.name)
        if peer is not None:
            return self._handle_change(peer, claim, result, now)
        if result.failed:
            return []  # it will try again
        if result.key is None and result.addresses and self._host.accept.callback:
            self._call_back(claim.key, result, claim.source, now)
            return []
        if result.key != claim.key:
            self.refuse(result.name, claim.key, now)
            self._host.count("not_vouched_for")
            fields = {"peer": result.name, "from": str(claim.source), "dns_has_key": result.key is not None}
            return [LogEvent("accept.refused", fields, "warning")]
        known = StorePeer(result.name, claim.key, "dnssec" if result.secure else "dns")
        peer = self._add_peer(known)
        if result.port is not None:
            peer.port = result.port
        return [peer.known, *self._answer(peer, claim, now)]

    def _handle_change(self, peer: Peer, claim: _Claim, result: LookupResult, now: Instant) -> list[Output]:
        """A known peer with another key than we know: DNSSEC may vouch for it, nothing less."""
        if claim.key == peer.key or claim.key in peer.known.previous_keys:
            return self._decide(claim, now)  # it has become true meanwhile
        if claim.key != result.key or not keychange.vouched_for(peer, result):
            self.refuse(peer.name, claim.key, now)
            return keychange.refuse(peer, claim.key, result)
        outputs = keychange.change(peer, claim.key, now, "DNSSEC", "dnssec")
        return outputs + self._answer(peer, claim, now)

    def refuse(self, name: Fqdn, key: PublicKey, now: Instant) -> None:
        """Nobody vouches for NAME to have KEY: do not ask again for a while."""
        self._refused[name, key] = now

    # --- answers

    def _answer(self, peer: Peer, claim: _Claim, now: Instant) -> list[Output]:
        if claim.own_index is not None:
            return self._finish_xx(peer, claim, claim.own_index, now)
        host, payload, noise = self._host, claim.payload, claim.noise
        before = peer.sessions.answer_to(payload.timestamp)
        if before is not None:
            # A copy: by another way, doubled, or a replay that must not push out the true one.
            return self._host.from_everywhere(before, claim.source)
        noise.psk = peer.psk
        if payload.timestamp <= peer.known.timestamp:
            host.count("stale_init")
            stale = noise.write(encode_payload(StalePayload(peer.known.timestamp)))
            return [Transmit(self._respond(claim, host.new_index(), stale), claim.source)]
        cipher = choose_cipher(payload.ciphers, host.has_aes)
        # Before its messages are read: who chooses follows from the keys.
        outputs = peer.use_own_key(claim.own)
        replies: list[TokenMessage] = []
        for message in payload.tokens:
            step = peer.negotiation.handle(message, host.unix_s, now, provisional=True)
            outputs += binding.absorb(peer, step)
            replies += step.messages
        response_payload = ResponsePayload(
            name=host.name,
            boot_id=host.boot_id,
            cipher=cipher,
            locators=host.locators,
            move_number=host.move_number,
            observed=claim.source,
            tokens=tuple(replies[:4]),
        )
        message_2 = noise.write(encode_payload(response_payload))
        index = host.new_index()
        response = self._respond(claim, index, message_2)
        session = Session(
            local_index=index,
            remote_index=claim.datagram.sender,
            keys=transport_keys(noise.chaining_key, cipher),
            cipher=cipher,
            begun_at=now,
            begun_by_us=False,
            boot_id=payload.boot_id,
            own_key=claim.own.public,
            peer_key=claim.key,
            arrival=Arrival(payload, host.move_number, response),
        )
        outputs += handshakes.install(peer, session, now)
        self._reschedule(peer)
        return outputs + self._host.from_everywhere(response, claim.source)

    def _respond(self, claim: _Claim, index: int, message: bytes) -> bytes:
        answer = HandshakeDatagram(HandshakeType.IK_RESPONSE, index, claim.datagram.sender, message)
        return add_macs(answer, claim.key).encode()

    def _finish_xx(self, peer: Peer, claim: _Claim, index: int, now: Instant) -> list[Output]:
        """Message 3 proved both the key and that the handshake is fresh: the session is usable at once."""
        outputs = peer.use_own_key(claim.own)
        session = Session(
            local_index=index,
            remote_index=claim.datagram.sender,
            keys=transport_keys(claim.noise.chaining_key, Cipher.CHACHA20_POLY1305),
            cipher=Cipher.CHACHA20_POLY1305,
            begun_at=now,
            begun_by_us=False,
            boot_id=claim.payload.boot_id,
            own_key=claim.own.public,
            peer_key=claim.key,
            arrival=Arrival(claim.payload, 0),
        )
        outputs += handshakes.install(peer, session, now)
        outputs += handshakes.confirm(peer, session, claim.source, now)
        outputs += binding.hear(peer, claim.payload.tokens, now)
        self._reschedule(peer)
        return outputs

    def _cookie(
        self, datagram: HandshakeDatagram, source: Locator, own_key: PublicKey | None, now: Instant
    ) -> list[Output]:
        self._host.count("cookies_sent")
        reply = self._jar.seal_reply(datagram, source, own_key, self._host.random_bytes(24), now)
        return [Transmit(reply.encode(), source)]

    # --- bounds

    def _forget_old_claims(self, now: Instant) -> None:
        self._held = {name: held for name, held in self._held.items() if now - held[1] < _HELD_S}
        cache_s = self._host.policy.refused_cache_s
        recent = {name: at for name, at in self._refused.items() if now - at < cache_s}
        self._refused = dict(list(recent.items())[-self._host.policy.pending_inits :])

    def _forget_old_xx(self, now: Instant) -> None:
        recent = [(index, xx) for index, xx in self._xx.items() if now - xx[2] < _XX_PENDING_S]
        self._xx = dict(recent[-_XX_PENDING_MAX + 1 :])


def _claim(
    payload: InitPayload,
    own: OwnKey,
    noise: NoiseHandshake,
    datagram: HandshakeDatagram,
    source: Locator,
    own_index: int | None,
) -> _Claim:
    key = noise.remote_static
    assert key is not None  # noqa: S101 - the message read last carries it
    return _Claim(own, payload, key, noise, datagram, source, own_index)


def _always_allowed(peer: Peer) -> bool:
    return peer.known.contacted or peer.known.trust == "pinned"

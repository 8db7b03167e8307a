"""Handshakes that we begin with one peer: first try, retries, completion."""

from __future__ import annotations

from msgspec import Struct

from vipnet.core.host import Host, OwnKey
from vipnet.core.rtt import RttEstimator
from vipnet.core.session import Session
from vipnet.crypto.cookie import COOKIE_LIFE_S, add_macs, open_reply
from vipnet.crypto.noise import IKPSK2, XX, NoiseHandshake, Pattern, prologue
from vipnet.crypto.transport import Cipher, preferred_ciphers, transport_keys
from vipnet.errors import ProtocolError
from vipnet.types import Fqdn, Instant, Locator, PublicKey
from vipnet.wire.control import TokenMessage
from vipnet.wire.handshake import (
    INIT_PAYLOAD_SIZE,
    CookieReply,
    HandshakeDatagram,
    HandshakeType,
    InitPayload,
    ResponsePayload,
    StalePayload,
    decode_response_payload,
    encode_payload,
)

_ATTEMPTS_MAX = 4  # answers to so many earlier tries are still taken
_STALE_MAX = 3  # answers "stale" in a row before the peer is not believed
_JITTER = 0.25


class Initiation(Struct, eq=False):
    """One try: what is needed to read its answer, and to send it again with a cookie."""

    index: int
    own: OwnKey
    key: PublicKey | None
    noise: NoiseHandshake
    datagram: HandshakeDatagram
    sent_at: Instant
    move_number: int
    cookied: bool = False


class Completed(Struct, frozen=True):
    """A handshake that we began is done; `response` is None after XX."""

    session: Session
    response: ResponsePayload | None
    rtt_s: float
    move_number: int


class Initiator:
    """At most one handshake is wanted at a time; each retry is a new try with new keys."""

    def __init__(self, host: Host, name: Fqdn, rtt: RttEstimator) -> None:
        self._host, self._name, self._rtt = host, name, rtt
        self._attempts: dict[int, Initiation] = {}
        self._retry_at: Instant | None = None
        self._give_up_at: Instant | None = None
        self._gap_s = 0.0
        self._stale = 0
        self._seen = 0  # greatest timestamp that this peer says it has seen, or was sent since
        self.tries = 0  # since a handshake was wanted
        self.unanswered = 0  # tries since one was answered, or all were given up
        self._cookie: tuple[bytes, Instant] | None = None

    @property
    def active(self) -> bool:
        return self._retry_at is not None

    def begin(self, now: Instant) -> None:
        """A handshake is wanted; or something happened that makes a try worthwhile at once."""
        policy = self._host.policy
        self._gap_s = max(3 * self._rtt.rtt_s, policy.handshake_retry_s)
        self._give_up_at = Instant(now + policy.handshake_give_up_s)
        self._retry_at = now
        self.tries = 0

    def hurry(self, now: Instant) -> None:
        """An application asks: it must not wait for a gap that grew while nobody did."""
        last = max((attempt.sent_at for attempt in self._attempts.values()), default=None)
        self.begin(now)
        if last is not None:
            self._retry_at = Instant(max(now, last + self._gap_s))

    def stop(self) -> list[int]:
        """No handshake is wanted any more; return the indexes of its tries."""
        indexes = list(self._attempts)
        self._attempts.clear()
        self._retry_at = self._give_up_at = None
        self._stale = self.unanswered = 0
        return indexes

    def next_timeout(self) -> Instant | None:
        return self._retry_at

    def postpone(self, now: Instant) -> None:
        """The next try comes after a gap that doubles, with jitter."""
        self._retry_at = Instant(now + self._gap_s * (1 + _JITTER * self._host.random_bytes(1)[0] / 255))
        self._gap_s = min(2 * self._gap_s, self._host.policy.handshake_retry_max_s)

    def gave_up(self, now: Instant) -> bool:
        return self._give_up_at is not None and now >= self._give_up_at

    def new_init(
        self,
        own: OwnKey,
        key: PublicKey,
        psk: bytes,
        observed: Locator | None,
        tokens: tuple[TokenMessage, ...],
        now: Instant,
    ) -> tuple[Initiation, list[int]]:
        """A new IK try as OWN, and the indexes of tries that are forgotten for it.

        The host's timestamp has grown: store it before the datagram is sent.
        """
        noise = self._noise(IKPSK2, own, key, psk)
        message = noise.write(encode_payload(self._payload(observed, tokens), INIT_PAYLOAD_SIZE))
        return self._attempt(HandshakeType.IK_INIT, own, noise, message, key, now)

    def new_xx(self, now: Instant) -> tuple[Initiation, list[int]]:
        """A new try towards a peer whose key is not known; its name is not said yet."""
        own = self._host.key
        noise = self._noise(XX, own, None, None)
        return self._attempt(HandshakeType.XX_1, own, noise, noise.write(b""), None, now)

    def read_response(
        self, attempt: Initiation, datagram: HandshakeDatagram, now: Instant
    ) -> Completed | None:
        """Message 2 of IK. None: the peer has seen a later timestamp, try again at once.

        Raise CryptoError, WireError or ProtocolError; the try stays alive then.
        """
        payload = decode_response_payload(attempt.noise.read(datagram.noise))
        if isinstance(payload, StalePayload):
            self._stale += 1
            if self._stale > _STALE_MAX:
                raise ProtocolError(f"{self._name} calls every timestamp stale")
            # For this peer alone: what it says must not spoil what we say to others.
            self._seen = max(self._seen, payload.greatest)
            self._retry_at = now
            return None
        if payload.name != self._name:
            raise ProtocolError(f"{self._name} calls itself {payload.name}")
        offered = preferred_ciphers(self._host.has_aes)
        if payload.cipher not in offered:
            raise ProtocolError(f"{self._name} picked a cipher that was not offered")
        session = self._session(attempt, datagram.sender, Cipher(payload.cipher), payload.boot_id)
        return Completed(session, payload, now - attempt.sent_at, attempt.move_number)

    def read_xx_2(self, attempt: Initiation, datagram: HandshakeDatagram) -> PublicKey:
        """Message 2 of XX: the key that the peer has, for its trust to be decided."""
        attempt.noise.read(datagram.noise)
        key = attempt.noise.remote_static
        assert key is not None  # noqa: S101 - XX message 2 carries it
        return key

    def write_xx_3(
        self,
        attempt: Initiation,
        datagram: HandshakeDatagram,
        observed: Locator | None,
        tokens: tuple[TokenMessage, ...],
        now: Instant,
    ) -> tuple[bytes, Completed]:
        """Message 3 of XX, which says who we are; the session is usable at once."""
        message = attempt.noise.write(encode_payload(self._payload(observed, tokens)))
        answer = add_macs(
            HandshakeDatagram(HandshakeType.XX_3, attempt.index, datagram.sender, message),
            attempt.noise.remote_static,
        )
        # What the other side runs is learned with its first sealed message; AES is for IK.
        session = self._session(attempt, datagram.sender, Cipher.CHACHA20_POLY1305, boot_id=bytes(8))
        return answer.encode(), Completed(session, None, now - attempt.sent_at, attempt.move_number)

    def read_cookie(self, attempt: Initiation, reply: CookieReply, now: Instant) -> bytes:
        """The peer is under load: the same try again, with its cookie in mac2.

        Once a try: who has seen our init can write such answers, from wherever.
        """
        if attempt.cookied:
            raise ProtocolError(f"second cookie of {self._name} for one init")
        value = open_reply(reply, attempt.key, attempt.datagram.mac1)
        attempt.cookied = True
        self._cookie = (value, Instant(now + COOKIE_LIFE_S))
        attempt.datagram = add_macs(attempt.datagram, attempt.key, value)
        return attempt.datagram.encode()

    def _noise(
        self, pattern: Pattern, own: OwnKey, key: PublicKey | None, psk: bytes | None
    ) -> NoiseHandshake:
        return NoiseHandshake(
            pattern,
            initiator=True,
            static=own.private,
            ephemeral=self._host.random_bytes(32),
            prologue=prologue(pattern),
            remote_static=key,
            psk=psk or bytes(32),
        )

    def _payload(self, observed: Locator | None, tokens: tuple[TokenMessage, ...]) -> InitPayload:
        host = self._host
        self._seen = max(host.next_timestamp(), self._seen + 1)
        return InitPayload(
            name=host.name,
            timestamp=self._seen,
            boot_id=host.boot_id,
            ciphers=preferred_ciphers(host.has_aes),
            locators=host.locators,
            move_number=host.move_number,
            observed=observed,
            tokens=tokens,
        )

    def _attempt(
        self,
        kind: HandshakeType,
        own: OwnKey,
        noise: NoiseHandshake,
        message: bytes,
        key: PublicKey | None,
        now: Instant,
    ) -> tuple[Initiation, list[int]]:
        index = self._host.new_index()
        cookie = self._cookie[0] if self._cookie is not None and now < self._cookie[1] else None
        datagram = add_macs(HandshakeDatagram(kind, index, 0, message), key, cookie)
        attempt = Initiation(index, own, key, noise, datagram, now, self._host.move_number)
        self._attempts[index] = attempt
        forgotten = list(self._attempts)[:-_ATTEMPTS_MAX]
        for old in forgotten:
            del self._attempts[old]
        self.tries += 1
        self.unanswered += 1
        self.postpone(now)
        return attempt, forgotten

    def _session(self, attempt: Initiation, remote_index: int, cipher: Cipher, boot_id: bytes) -> Session:
        key = attempt.noise.remote_static
        assert key is not None  # noqa: S101 - given for IK, read for XX
        return Session(
            local_index=attempt.index,
            remote_index=remote_index,
            keys=transport_keys(attempt.noise.chaining_key, cipher),
            cipher=cipher,
            begun_at=attempt.sent_at,
            begun_by_us=True,
            boot_id=boot_id,
            own_key=attempt.own.public,
            peer_key=key,
        )

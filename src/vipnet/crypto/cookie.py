"""mac1, mac2 and cookies: no work for strangers (WireGuard sections 5.3, 5.4.4 and 5.4.7).

mac1 shows that the sender knows whom it speaks to, at the price of one hash. A
responder under load answers with a cookie, tied to the address it was sent to;
only messages with a mac2 made from it are worked on then.
"""

from __future__ import annotations

import hmac
import math
from hashlib import blake2s
from typing import Final

from msgspec.structs import replace
from nacl.bindings import (
    crypto_aead_xchacha20poly1305_ietf_decrypt,
    crypto_aead_xchacha20poly1305_ietf_encrypt,
)
from nacl.exceptions import CryptoError as SodiumCryptoError

from vipnet.errors import CryptoError
from vipnet.types import Instant, Locator, PublicKey
from vipnet.wire.handshake import MAC_SIZE, NO_MAC, CookieReply, HandshakeDatagram

COOKIE_LIFE_S: Final = 120.0  # WireGuard section 5.4.7: the initiator forgets it then

_UNKNOWN_KEY: Final = bytes(32)  # in the place of a key that the sender does not know


def add_macs(
    datagram: HandshakeDatagram, receiver_key: PublicKey | None, cookie: bytes | None = None
) -> HandshakeDatagram:
    """Return DATAGRAM with its mac1, and with its mac2 when there is a cookie."""
    head = datagram.head()
    first = mac1(receiver_key, head)
    second = NO_MAC if cookie is None else mac2(cookie, head, first)
    return replace(datagram, mac1=first, mac2=second)


def mac1(receiver_key: PublicKey | None, head: bytes) -> bytes:
    """MAC of a handshake datagram's head, keyed by the static key of whom it is for.

    None where the sender does not know it yet, in messages 1 and 2 of XX.
    """
    return blake2s(head, digest_size=MAC_SIZE, key=_mac1_key(receiver_key)).digest()


def verify_mac1(own_key: PublicKey | None, datagram: HandshakeDatagram) -> bool:
    """Whether DATAGRAM was made for us; None for messages 1 and 2 of XX."""
    return hmac.compare_digest(mac1(own_key, datagram.head()), datagram.mac1)


def mac2(cookie: bytes, head: bytes, mac1: bytes) -> bytes:
    return blake2s(head + mac1, digest_size=MAC_SIZE, key=cookie).digest()


class CookieJar:
    """The responder's side: cookies that are computed again instead of being kept.

    A cookie is good for at least COOKIE_LIFE_S and at most twice that: the current
    and the previous period's are taken, so that a rotation refuses no honest sender.
    """

    def __init__(self, secret: bytes) -> None:
        """SECRET: 32 random bytes, from which every period's secret is derived."""
        self._secret = secret

    def cookie_for(self, source: Locator, now: Instant) -> bytes:
        """16 bytes that only who receives at SOURCE can know."""
        return self._cookie(source, _period(now))

    def verify_mac2(self, datagram: HandshakeDatagram, source: Locator, now: Instant) -> bool:
        """Whether DATAGRAM was made with a cookie for SOURCE that is still good."""
        head, period = datagram.head(), _period(now)
        return any(
            hmac.compare_digest(mac2(self._cookie(source, number), head, datagram.mac1), datagram.mac2)
            for number in (period, period - 1)
        )

    def seal_reply(
        self,
        datagram: HandshakeDatagram,
        source: Locator,
        own_key: PublicKey | None,
        nonce: bytes,
        now: Instant,
    ) -> CookieReply:
        """Answer DATAGRAM with the cookie of SOURCE.

        own_key  as for its mac1: None for messages 1 and 2 of XX
        nonce    24 random bytes
        """
        sealed = crypto_aead_xchacha20poly1305_ietf_encrypt(
            self.cookie_for(source, now), datagram.mac1, nonce, _reply_key(own_key)
        )
        return CookieReply(datagram.sender, nonce, sealed)

    def _cookie(self, source: Locator, period: int) -> bytes:
        secret = blake2s(period.to_bytes(8, "big", signed=True), key=self._secret).digest()
        return blake2s(str(source).encode(), digest_size=MAC_SIZE, key=secret).digest()


def open_reply(reply: CookieReply, receiver_key: PublicKey | None, mac1: bytes) -> bytes:
    """Return the cookie in the answer to the message that we sent with MAC1.

    receiver_key  as for that mac1. Raise CryptoError when it is not an answer to it.
    """
    try:
        return crypto_aead_xchacha20poly1305_ietf_decrypt(
            reply.sealed, mac1, reply.nonce, _reply_key(receiver_key)
        )
    except SodiumCryptoError:
        raise CryptoError("cookie reply does not verify") from None


def _period(now: Instant) -> int:
    return math.floor(now / COOKIE_LIFE_S)


def _mac1_key(receiver_key: PublicKey | None) -> bytes:
    return blake2s(b"vipnet mac1" + (receiver_key or _UNKNOWN_KEY)).digest()


def _reply_key(receiver_key: PublicKey | None) -> bytes:
    return blake2s(b"vipnet cookie" + (receiver_key or _UNKNOWN_KEY)).digest()

"""The Noise handshake, revision 34: Noise_{IKpsk2,XX}_25519_ChaChaPoly_BLAKE2s.

Pure: both private keys are arguments, so that the caller brings the randomness.
An ephemeral key must serve one handshake only.
"""

from __future__ import annotations

import copy
import hmac
from hashlib import blake2s
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from msgspec import Struct
from nacl.bindings import crypto_scalarmult, crypto_scalarmult_base
from nacl.exceptions import RuntimeError as SodiumError

from vipnet.errors import CryptoError
from vipnet.policy import PROTOCOL_VERSION
from vipnet.types import PublicKey

KEY_SIZE: Final = 32  # bytes, of X25519 keys, of pre-shared keys and of BLAKE2s
TAG_SIZE: Final = 16  # bytes, of ChaCha20-Poly1305


class Pattern(Struct, frozen=True):
    """A handshake pattern (Noise section 7): the steps of each message, the initiator's first.

    Noise calls the steps tokens, a word that has another meaning here.


    responder_known  the initiator has the responder's static key already (pre-message "<- s")
    """

    name: str
    responder_known: bool
    messages: tuple[tuple[str, ...], ...]

    @property
    def protocol_name(self) -> bytes:
        return f"Noise_{self.name}_25519_ChaChaPoly_BLAKE2s".encode()

    @property
    def uses_psk(self) -> bool:
        return any("psk" in message for message in self.messages)


IKPSK2: Final = Pattern("IKpsk2", True, (("e", "es", "s", "ss"), ("e", "ee", "se", "psk")))
XX: Final = Pattern("XX", False, (("e",), ("e", "ee", "s", "es"), ("s", "se")))


def prologue(pattern: Pattern) -> bytes:
    """What both must agree on before the first message: protocol, version, pattern."""
    return b"vipnet1" + bytes([PROTOCOL_VERSION]) + pattern.name.encode()


def public_key(private: bytes) -> PublicKey:
    return PublicKey(crypto_scalarmult_base(private))


class NoiseHandshake:
    """One side of one handshake (Noise section 5.3).

    A message that is refused leaves no trace: the true one may still come. One
    that comes out of turn is refused too (the network may repeat it); writing out
    of turn is a mistake of ours: RuntimeError.
    """

    def __init__(
        self,
        pattern: Pattern,
        *,
        initiator: bool,
        static: bytes,
        ephemeral: bytes,
        prologue: bytes,
        remote_static: PublicKey | None = None,
        psk: bytes = bytes(KEY_SIZE),
    ) -> None:
        """Raise ValueError when the pattern needs `remote_static` and it is missing, or has no use for it."""
        if (remote_static is not None) != (initiator and pattern.responder_known):
            raise ValueError("remote_static is for the initiator of a pattern that knows its responder")
        self._pattern, self._initiator = pattern, initiator
        self._private = {"e": ephemeral, "s": static}
        self._public = {"e": public_key(ephemeral), "s": public_key(static)}
        self.psk = psk  # a responder may set it until it writes message 2: it knows then who asks
        self._remote: dict[str, bytes] = {} if remote_static is None else {"s": remote_static}
        self._turn = 0  # messages written and read
        self._state = _SymmetricState(pattern.protocol_name)
        self._state.mix_hash(prologue)
        if pattern.responder_known:
            self._state.mix_hash(remote_static or self._public["s"])

    @property
    def finished(self) -> bool:
        return self._turn == len(self._pattern.messages)

    @property
    def psk(self) -> bytes:
        """The pre-shared key, 32 bytes. A responder sets it after message 1, when it knows who asks."""
        return self._psk

    @psk.setter
    def psk(self, psk: bytes) -> None:
        if len(psk) != KEY_SIZE:
            raise ValueError(f"pre-shared key of {len(psk)} bytes, not {KEY_SIZE}")
        self._psk = psk

    @property
    def remote_static(self) -> PublicKey | None:
        """The peer's static key, once it is known."""
        key = self._remote.get("s")
        return None if key is None else PublicKey(key)

    @property
    def chaining_key(self) -> bytes:
        """What transport keys are derived from. Raise RuntimeError before the handshake is finished."""
        self._check_finished()
        return self._state.chaining_key

    @property
    def handshake_hash(self) -> bytes:
        """Unique for this handshake, the same on both sides (Noise section 11.2); RuntimeError as above."""
        self._check_finished()
        return self._state.hash

    def write(self, payload: bytes) -> bytes:
        """Return the next message. Raise CryptoError when the peer's key cannot be used."""
        if self.finished or not self._our_turn:
            raise RuntimeError("the handshake is finished" if self.finished else "it is the peer's turn")
        state = copy.copy(self._state)
        message = b""
        for step in self._pattern.messages[self._turn]:
            if step == "e":
                message += self._public["e"]
                self._mix_ephemeral(state, self._public["e"])
            elif step == "s":
                message += state.encrypt_and_hash(self._public["s"])
            else:
                self._mix_secret(state, step, self._remote)
        message += state.encrypt_and_hash(payload)
        self._state = state
        self._turn += 1
        return message

    def read(self, message: bytes) -> bytes:
        """Return the payload. Raise CryptoError when MESSAGE is not the peer's next one."""
        if self.finished or self._our_turn:
            raise CryptoError("handshake message out of turn")
        state = copy.copy(self._state)
        remote = dict(self._remote)
        rest = message
        for step in self._pattern.messages[self._turn]:
            if step == "e":
                remote["e"], rest = _cut(rest, KEY_SIZE)
                self._mix_ephemeral(state, remote["e"])
            elif step == "s":
                sealed, rest = _cut(rest, KEY_SIZE + TAG_SIZE if state.has_key else KEY_SIZE)
                remote["s"] = state.decrypt_and_hash(sealed)
            else:
                self._mix_secret(state, step, remote)
        payload = state.decrypt_and_hash(rest)
        self._state, self._remote = state, remote
        self._turn += 1
        return payload

    def _mix_ephemeral(self, state: _SymmetricState, key: bytes) -> None:
        state.mix_hash(key)
        if self._pattern.uses_psk:  # section 9.2: else the psk alone would decide the key
            state.mix_key(key)

    def _mix_secret(self, state: _SymmetricState, step: str, remote: dict[str, bytes]) -> None:
        if step == "psk":
            state.mix_key_and_hash(self.psk)
            return
        # "es" is the initiator's ephemeral with the responder's static key.
        ours, theirs = (step[0], step[1]) if self._initiator else (step[1], step[0])
        state.mix_key(_shared_secret(self._private[ours], remote[theirs]))

    @property
    def _our_turn(self) -> bool:
        return self._initiator == (self._turn % 2 == 0)

    def _check_finished(self) -> None:
        if not self.finished:
            raise RuntimeError("the handshake is not finished")


class _SymmetricState:
    """Chaining key, hash, and a cipher once there is a key (Noise sections 5.1 and 5.2)."""

    def __init__(self, protocol_name: bytes) -> None:
        short = len(protocol_name) <= KEY_SIZE
        self.hash = protocol_name.ljust(KEY_SIZE, b"\0") if short else blake2s(protocol_name).digest()
        self.chaining_key = self.hash
        self._key: bytes | None = None
        self._nonce = 0

    @property
    def has_key(self) -> bool:
        return self._key is not None

    def mix_hash(self, data: bytes) -> None:
        self.hash = blake2s(self.hash + data).digest()

    def mix_key(self, secret: bytes) -> None:
        self.chaining_key, self._key = hkdf(self.chaining_key, secret, 2)
        self._nonce = 0

    def mix_key_and_hash(self, secret: bytes) -> None:
        self.chaining_key, mixed, self._key = hkdf(self.chaining_key, secret, 3)
        self.mix_hash(mixed)
        self._nonce = 0

    def encrypt_and_hash(self, plaintext: bytes) -> bytes:
        sealed = plaintext
        if self._key is not None:
            sealed = ChaCha20Poly1305(self._key).encrypt(self._next_nonce(), plaintext, self.hash)
        self.mix_hash(sealed)
        return sealed

    def decrypt_and_hash(self, sealed: bytes) -> bytes:
        plaintext = sealed
        if self._key is not None:
            try:
                plaintext = ChaCha20Poly1305(self._key).decrypt(self._next_nonce(), sealed, self.hash)
            except InvalidTag:
                raise CryptoError("handshake message does not verify") from None
        self.mix_hash(sealed)
        return plaintext

    def _next_nonce(self) -> bytes:
        nonce = bytes(4) + self._nonce.to_bytes(8, "little")  # section 12.3
        self._nonce += 1
        return nonce


def hkdf(chaining_key: bytes, material: bytes, outputs: int) -> list[bytes]:
    """HKDF with HMAC-BLAKE2s (Noise section 4.3; RFC 5869 with an empty `info`)."""
    secret = hmac.digest(chaining_key, material, blake2s)
    block, blocks = b"", []
    for number in range(1, outputs + 1):
        block = hmac.digest(secret, block + bytes([number]), blake2s)
        blocks.append(block)
    return blocks


def _shared_secret(private: bytes, public: bytes) -> bytes:
    """X25519. Raise CryptoError for a public key of small order, which would make the result 0."""
    try:
        return crypto_scalarmult(private, public)
    except SodiumError:
        raise CryptoError("public key of small order") from None


def _cut(data: bytes, size: int) -> tuple[bytes, bytes]:
    if len(data) < size:
        raise CryptoError(f"handshake message ends {size - len(data)} bytes early")
    return data[:size], data[size:]

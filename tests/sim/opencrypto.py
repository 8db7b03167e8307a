"""Cryptography that hides nothing, for a search that compares states: cheap, and the same in each run.

What can be noticed of it is as with the real one: who has the key opens, nobody
else does; sizes are equal; a counter is never used twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from hashlib import blake2s
from unittest.mock import patch

from vipnet.core import initiator, responder, session
from vipnet.crypto.noise import KEY_SIZE, Pattern, public_key
from vipnet.crypto.replay import ReplayWindow
from vipnet.crypto.run import Run
from vipnet.crypto.transport import Cipher
from vipnet.errors import CryptoError
from vipnet.types import PublicKey
from vipnet.wire.datagram import HEADER_SIZE, TAG_SIZE, DataHeader

_WINDOW = 512  # counters; more than a search ever uses, and small enough to be copied
_NOISE_TAG = bytes(16)


class Draws:
    """Random bytes of one host: all different, none like another host's, none a surprise."""

    MARK = b"\xfeDRAW"

    def __init__(self, letter: str) -> None:
        self._letter, self._drawn = letter.encode(), 0

    def draw(self, size: int) -> bytes:
        """Raise AssertionError when as many different bytes do not fit SIZE."""
        self._drawn += 1
        if size == 1:
            return b"\0"  # jitter
        if size == 4:
            return self._letter + self._drawn.to_bytes(3, "big")
        return (self.MARK + self._letter + self._drawn.to_bytes(2, "big")).ljust(size, b"\0")


class OpenSealingKey:
    def __init__(self, key: bytes, cipher: Cipher) -> None:
        self.key, self._sealed = key, -1

    def seal(self, receiver_index: int, counter: int, plaintext: bytes) -> bytes:
        # A session counts up; so this says all that is to be said of all its counters.
        assert counter > self._sealed, f"counter {counter} is sealed twice under one key"
        self._sealed = counter
        return DataHeader(receiver_index, counter).encode() + plaintext + self.key[:TAG_SIZE]

    def seal_each(
        self,
        receiver_index: int,
        counter: int,
        plaintexts: Iterable[memoryview],
        out: memoryview,
        stride: int,
    ) -> None:
        datagrams = [self.seal(receiver_index, n, bytes(body)) for n, body in enumerate(plaintexts, counter)]
        assert {len(datagram) for datagram in datagrams[:-1]} <= {stride}
        out[:] = b"".join(datagrams)

    def seal_run(self, receiver_index: int, counter: int, run: Run, out: memoryview, stride: int) -> None:
        raise AssertionError("hosts of a search send no super-packets")


class OpenOpeningKey:
    def __init__(self, key: bytes, cipher: Cipher) -> None:
        self.key = key

    def open(self, datagram: bytes) -> bytes:
        if datagram[-TAG_SIZE:] != self.key[:TAG_SIZE]:
            raise CryptoError("sealed datagram does not verify")
        return datagram[HEADER_SIZE:-TAG_SIZE]

    def open_into(self, datagram: memoryview, out: memoryview) -> None:
        out[:] = self.open(bytes(datagram))

    def open_run(self, data: memoryview, stride: int, header: tuple[int, int], run: Run, at_most: int) -> int:
        return 0  # the shortcut is not taken


class OpenTrain:
    """Neither end of a train is ever seen by it: hosts of a search send no super-packets."""

    def __init__(self, key: bytes) -> None:
        self.key = key


class OpenNoise:
    """IKpsk2 by what it guarantees: message 2 belongs to message 1, and both ends get the same new key."""

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
        self._static = public_of(static)
        self._ephemerals = [ephemeral]  # the initiator's first
        self.remote_static, self.psk = remote_static, psk

    @property
    def chaining_key(self) -> bytes:
        return blake2s(b"".join(self._ephemerals)).digest()

    def write(self, payload: bytes) -> bytes:
        if len(self._ephemerals) == 1:
            return self._ephemerals[0] + self._static + _NOISE_TAG + _NOISE_TAG + payload
        return self._ephemerals[1] + self._ephemerals[0][:TAG_SIZE] + payload

    def read(self, message: bytes) -> bytes:
        ephemeral = message[:KEY_SIZE]
        if self.remote_static is None:
            self.remote_static = PublicKey(message[KEY_SIZE : 2 * KEY_SIZE])
            self._ephemerals.insert(0, ephemeral)
            return message[3 * KEY_SIZE :]
        if message[KEY_SIZE : KEY_SIZE + TAG_SIZE] != self._ephemerals[0][:TAG_SIZE]:
            raise CryptoError("handshake message does not verify")
        self._ephemerals.append(ephemeral)
        return message[KEY_SIZE + TAG_SIZE :]


_public: dict[bytes, PublicKey] = {}


def public_of(private: bytes) -> PublicKey:
    if private not in _public:
        _public[private] = public_key(private)
    return _public[private]


@contextmanager
def open_crypto() -> Iterator[None]:
    """Nodes made meanwhile, and their sessions, use what stands above."""
    with (
        patch.object(initiator, "NoiseHandshake", OpenNoise),
        patch.object(responder, "NoiseHandshake", OpenNoise),
        patch.object(session, "SealingKey", OpenSealingKey),
        patch.object(session, "OpeningKey", OpenOpeningKey),
        patch.object(session, "TrainSealing", OpenTrain),
        patch.object(session, "TrainOpening", OpenTrain),
        patch.object(session, "ReplayWindow", partial(ReplayWindow, _WINDOW)),
    ):
        yield

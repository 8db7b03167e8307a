"""Session keys written down, for whoever has to see what two daemons say to each other.

A line opens one direction of one session:

    vipnet-key 1a2b3c4d AES_256_GCM <key, 64 hex digits> a.example.org b.example.org

The index is that of the datagrams' header, then come the cipher and the key, who sealed, and for whom.
Opt-in, for root alone, only for sessions made meanwhile; the daemon itself writes no key anywhere.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import suppress
from typing import Any, Final, Self

import trio
from msgspec import Struct

from vipnet.app.engine import Engine
from vipnet.core.outputs import SessionKeys
from vipnet.crypto.train import TrainOpening
from vipnet.crypto.transport import Cipher, OpeningKey
from vipnet.errors import ConfigError, HostError, PeerError
from vipnet.types import Fqdn
from vipnet.wire.datagram import FIRST_NUMBER, DataHeader

_WORD: Final = "vipnet-key"
_FIELDS: Final = 6
_WAITING_MAX: Final = 1024  # handshakes that a reader may be behind

log = logging.getLogger(__name__)


class KeyLine(Struct, frozen=True):
    """One direction of one session: what SEALED_BY sealed for SEALED_FOR, who chose INDEX."""

    index: int
    cipher: Cipher
    key: bytes
    sealed_by: str
    sealed_for: str

    @classmethod
    def parse(cls, line: str) -> Self:
        """Raise ValueError for a line that is none."""
        fields = line.split()
        if len(fields) != _FIELDS or fields[0] != _WORD:
            raise ValueError("not a line of a key log")
        try:
            index, cipher, key = int(fields[1], 16), Cipher[fields[2]], bytes.fromhex(fields[3])
        except KeyError:
            raise ValueError(f"{fields[2]} is no cipher: {', '.join(Cipher.__members__)}") from None
        if len(key) != 32 or not 0 < index < 2**32:
            raise ValueError("an index has 8 hexadecimal digits, a key 64")
        return cls(index, cipher, key, *fields[4:])

    def __str__(self) -> str:
        key = self.key.hex()
        return f"{_WORD} {self.index:08x} {self.cipher.name} {key} {self.sealed_by} {self.sealed_for}"


class KeyLog:
    """The feed `key_log` of the control socket."""

    def __init__(self, own_name: Fqdn, engine: Engine) -> None:
        self._own_name, self._engine = own_name, engine
        self._running = False

    def feed(self, _params: dict[str, Any]) -> AsyncGenerator[bytes, None]:
        """Lines until the client has enough. Raise HostError when another log runs."""
        if self._running:
            raise HostError("a key log of the daemon runs already: end that one")
        return self._lines()

    async def _lines(self) -> AsyncGenerator[bytes, None]:
        sender, waiting = trio.open_memory_channel[SessionKeys](_WAITING_MAX)
        engine, self._running = self._engine, True

        def take(keys: SessionKeys) -> None:
            # Whoever reads so slowly has a log with holes.
            with suppress(trio.WouldBlock, trio.ClosedResourceError):
                sender.send_nowait(keys)

        engine.key_log = take
        log.warning(
            "keylog.begun", extra={"what": "the keys of new sessions are given away: all is readable"}
        )
        try:
            engine.log_keys(True)
            async for keys in waiting:
                yield b"".join(f"{line}\n".encode() for line in self._both(keys))
        finally:
            engine.log_keys(False)
            sender.close()
            waiting.close()
            self._running = False
            log.warning("keylog.ended")

    def _both(self, keys: SessionKeys) -> Iterable[KeyLine]:
        own, other, cipher = self._own_name, keys.name, Cipher[keys.cipher]
        yield KeyLine(keys.remote_index, cipher, keys.sealing, own, other)
        yield KeyLine(keys.local_index, cipher, keys.opening, other, own)


class Keys:
    """The lines of a key log, by index. An index may come again with other keys."""

    def __init__(self, lines: Iterable[str], name: str = "key log") -> None:
        """Raise ConfigError, which names the line; NAME: what they are from."""
        self._by_index: dict[int, list[tuple[KeyLine, Callable[[bytes], bytes]]]] = {}
        for number, text in enumerate(lines, 1):
            if not text.strip() or text.startswith("#"):
                continue
            try:
                line = KeyLine.parse(text)
            except ValueError as error:
                raise ConfigError(f"{name}, line {number}: {error}; `vipnet key log` writes them") from None
            self._by_index.setdefault(line.index, []).append((line, _opening(line)))

    def __contains__(self, index: int) -> bool:
        return index in self._by_index

    def open(self, index: int, datagram: bytes) -> tuple[KeyLine, bytes] | None:
        """Whose DATAGRAM is, and its plaintext with the kind at its end; None when no key opens it."""
        for line, opening in self._by_index.get(index, ()):
            try:
                return line, opening(datagram)
            except PeerError:
                continue
        return None


def _opening(line: KeyLine) -> Callable[[bytes], bytes]:
    """What opens a datagram by the key of LINE, or raises PeerError; a piece of a train becomes kind 2."""
    ordinary = OpeningKey(line.key, line.cipher)
    if line.cipher is not Cipher.AES_256_GCM_TRAINS:
        return ordinary.open
    train = TrainOpening(line.key)

    def open_either(datagram: bytes) -> bytes:
        if DataHeader.decode(datagram).counter < FIRST_NUMBER:
            return ordinary.open(datagram)
        payload, (tail,) = train.open_pieces(memoryview(datagram), len(datagram))
        return payload + tail

    return open_either

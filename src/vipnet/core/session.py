"""Sessions: a pair of keys with one peer, and which of several is used.

A new session never takes the old one's place for receiving: what is on its way
under the old key still opens for OLD_KEY_S seconds.
"""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct

from vipnet.crypto.replay import ReplayWindow
from vipnet.crypto.run import Run
from vipnet.crypto.train import TrainOpening, TrainSealing
from vipnet.crypto.transport import Cipher, OpeningKey, SealingKey
from vipnet.errors import ProtocolError
from vipnet.policy import OLD_KEY_S, REJECT_AFTER_COUNT, REJECT_AFTER_S, REKEY_AFTER_COUNT, REKEY_AFTER_S
from vipnet.types import Instant, PublicKey
from vipnet.wire.datagram import COUNTERS_MAX
from vipnet.wire.handshake import InitPayload

_CROSSING_S = 5.0  # two handshakes begun within this are crossing, not one after the other
_UNCONFIRMED_MAX = 4


class Arrival(Struct, frozen=True):
    """The init a responder's session came from; in force with its first sealed datagram.

    told_move  the move number of ours that the response told the peer
    response   the whole datagram, for copies of the init
    """

    payload: InitPayload
    told_move: int
    response: bytes = b""


class Session:
    """Keys, counters and replay window of one handshake.

    local_index   in datagrams to us; remote_index in datagrams to the peer
    own_key       our static key that it was made with; peer_key is the peer's
    trains        how bulk TCP is opened when both ends know trains; None: they do not
    counters_max  a header has room for; who lies and seals under the last one has no next
    begun_by_us   we were the initiator
    confirmed     the peer proved that it has the keys: only then may we send
    sent          datagrams sealed so far: the next counter
    """

    def __init__(
        self,
        *,
        local_index: int,
        remote_index: int,
        keys: tuple[bytes, bytes],
        cipher: Cipher,
        begun_at: Instant,
        begun_by_us: bool,
        boot_id: bytes,
        own_key: PublicKey,
        peer_key: PublicKey,
        arrival: Arrival | None = None,
    ) -> None:
        sealing, opening = keys if begun_by_us else (keys[1], keys[0])
        self.local_index, self.remote_index = local_index, remote_index
        self.begun_at, self.begun_by_us, self.boot_id = begun_at, begun_by_us, boot_id
        self.own_key, self.peer_key = own_key, peer_key
        self.confirmed = begun_by_us
        self.arrival = arrival
        self.sent = 0
        self._keys: tuple[bytes, bytes] | None = (sealing, opening)
        self.cipher = cipher
        self._sealing = SealingKey(sealing, cipher)
        self._opening = OpeningKey(opening, cipher)
        with_trains = cipher is Cipher.AES_256_GCM_TRAINS
        self._train_sealing = TrainSealing(sealing) if with_trains else None
        self.trains = TrainOpening(opening) if with_trains else None
        self.counters_max = COUNTERS_MAX if with_trains else 1 << 64
        self.window = ReplayWindow()

    def take_keys(self) -> tuple[bytes, bytes]:
        """The keys for sealing and for opening, once: afterwards only the ciphers hold them."""
        keys, self._keys = self._keys, None
        assert keys is not None  # noqa: S101 - whoever installs the session takes them
        return keys

    def seal(self, body: bytes, kind: int) -> bytes:
        """A whole datagram; its counter is never used again."""
        counter = self.sent
        self.sent = counter + 1
        return self._sealing.seal(self.remote_index, counter, body + bytes((kind,)))

    def peek(self, datagram: bytes | memoryview) -> bytes:
        """The plaintext of DATAGRAM. Raise CryptoError; the replay window is the caller's."""
        return self._opening.open(datagram)

    def open(self, datagram: bytes, counter: int) -> bytes:
        """The plaintext of DATAGRAM, body and kind.

        Raise ProtocolError for a replay, CryptoError when the seal does not verify.
        """
        if not self.window.is_fresh(counter):
            raise ProtocolError("replayed or too old datagram")
        plaintext = self._opening.open(datagram)
        self.window.mark(counter)
        if not plaintext:
            raise ProtocolError("sealed datagram without a kind")
        return plaintext

    def seal_block(
        self, counter: int, plaintexts: Iterable[memoryview], block: bytearray, segment_size: int
    ) -> None:
        """Fill BLOCK with datagrams of SEGMENT_SIZE, only the last may be shorter.

        counter     of the first: one of those that take() gave
        plaintexts  body and kind of each
        """
        with memoryview(block) as out:
            self._sealing.seal_each(self.remote_index, counter, plaintexts, out, segment_size)

    def take(self, count: int) -> int:
        """The first of COUNT counters, which are given once."""
        first = self.sent
        self.sent = first + count
        return first

    def open_into(self, datagram: memoryview, out: memoryview) -> None:
        """Write the plaintext of DATAGRAM to OUT. Raise CryptoError; the replay window is the caller's."""
        self._opening.open_into(datagram, out)

    def seal_run(self, counter: int, run: Run, out: memoryview, stride: int) -> None:
        """SealingKey.seal_run() from COUNTER on, which take() gave."""
        self._sealing.seal_run(self.remote_index, counter, run, out, stride)

    def seal_train(
        self, counter: int, payload: memoryview, size: int, tails: tuple[bytes, bytes], end: bytes
    ) -> bytes:
        """TrainSealing.seal() from COUNTER on, which take() gave; only where there are `trains`."""
        assert self._train_sealing is not None  # noqa: S101 - it came with `trains`
        return self._train_sealing.seal(self.remote_index, counter, payload, size, tails, end)

    def open_run(self, data: memoryview, stride: int, counter: int, run: Run, at_most: int) -> int:
        """OpeningKey.open_run() from COUNTER on; the replay window is the caller's."""
        return self._opening.open_run(data, stride, (self.local_index, counter), run, at_most)

    def may_send(self, now: Instant) -> bool:
        return self.confirmed and now - self.begun_at < REJECT_AFTER_S and self.sent < REJECT_AFTER_COUNT

    def wants_rekey(self, now: Instant) -> bool:
        return now - self.begun_at >= REKEY_AFTER_S or self.sent >= REKEY_AFTER_COUNT


class Sessions:
    """The sessions with one peer: one to send under, all to receive under.

    we_are_lower  our static key is the lower one: of two crossing handshakes both
                  ends send under the one that the lower key began
    """

    def __init__(self, *, we_are_lower: bool) -> None:
        self.we_are_lower = we_are_lower
        self._sending: Session | None = None
        self._unconfirmed: list[Session] = []
        self._old: list[tuple[Session, Instant]] = []  # and when its key is forgotten

    def sending(self, now: Instant) -> Session | None:
        """The session to seal under, None when a handshake is needed first."""
        session = self._sending
        return session if session is not None and session.may_send(now) else None

    @property
    def newest(self) -> Session | None:
        return self._sending

    def add(self, session: Session, now: Instant) -> list[Session]:
        """Take a new session in; return those that are pushed out and receive no more.

        The earliest inits go first: who replays some cannot push out the newest.
        """
        if session.confirmed:
            self._promote(session, now)
            return []
        self._unconfirmed.append(session)
        self._unconfirmed.sort(key=_timestamp)
        pushed_out = self._unconfirmed[:-_UNCONFIRMED_MAX]
        del self._unconfirmed[:-_UNCONFIRMED_MAX]
        return pushed_out

    def answer_to(self, timestamp: int) -> bytes | None:
        """The response to the init with TIMESTAMP, which is not confirmed yet."""
        arrivals = (session.arrival for session in self._unconfirmed)
        found = (at.response for at in arrivals if at is not None and at.payload.timestamp == timestamp)
        return next(found, None)

    def confirm(self, session: Session, now: Instant) -> list[Session]:
        """The peer's first datagram under SESSION was opened; return those that are void by it.

        An earlier init can only be of an attempt, or of a run of the daemon, that
        the peer has given up.
        """
        session.confirmed = True
        self._unconfirmed.remove(session)
        void = [other for other in self._unconfirmed if _timestamp(other) < _timestamp(session)]
        self._unconfirmed = [other for other in self._unconfirmed if other not in void]
        self._promote(session, now)
        return void

    def drop(self, boot_id: bytes) -> list[Session]:
        """End the sessions of that run of the peer's daemon; return them."""
        dropped = [session for session in self.all() if session.boot_id == boot_id]
        if self._sending in dropped:
            self._sending = None
        self._unconfirmed = [session for session in self._unconfirmed if session not in dropped]
        self._old = [(session, until) for session, until in self._old if session not in dropped]
        return dropped

    def next_timeout(self) -> Instant | None:
        deadlines = [until for _, until in self._old]
        deadlines += [Instant(session.begun_at + REJECT_AFTER_S) for session in self._unconfirmed]
        if self._sending is not None:
            deadlines.append(Instant(self._sending.begun_at + REJECT_AFTER_S))
        return min(deadlines, default=None)

    def handle_timeout(self, now: Instant) -> list[Session]:
        """Forget keys whose time is over; return their sessions."""
        if self._sending is not None and now >= self._sending.begun_at + REJECT_AFTER_S:
            self._retire(self._sending, now)
            self._sending = None
        over = [session for session, until in self._old if now >= until]
        over += [session for session in self._unconfirmed if now >= session.begun_at + REJECT_AFTER_S]
        self._old = [(session, until) for session, until in self._old if session not in over]
        self._unconfirmed = [session for session in self._unconfirmed if session not in over]
        return over

    def receiving(self) -> list[Session]:
        """Confirmed sessions, the newest first: what may have lost something."""
        old = [session for session, _ in reversed(self._old)]
        return old if self._sending is None else [self._sending, *old]

    def all(self) -> list[Session]:
        sending = [] if self._sending is None else [self._sending]
        return sending + self._unconfirmed + [session for session, _ in self._old]

    def _promote(self, session: Session, now: Instant) -> None:
        current = self._sending
        if current is not None and self._loses_crossing(session, current):
            self._retire(session, now)
            return
        if current is not None:
            self._retire(current, now)
        self._sending = session

    def _loses_crossing(self, new: Session, current: Session) -> bool:
        crossing = (
            new.begun_by_us != current.begun_by_us
            and new.boot_id == current.boot_id
            and (new.own_key, new.peer_key) == (current.own_key, current.peer_key)
            and abs(new.begun_at - current.begun_at) < _CROSSING_S
        )
        return crossing and current.begun_by_us == self.we_are_lower

    def _retire(self, session: Session, now: Instant) -> None:
        self._old.append((session, Instant(now + OLD_KEY_S)))


def _timestamp(session: Session) -> int:
    return 0 if session.arrival is None else session.arrival.payload.timestamp

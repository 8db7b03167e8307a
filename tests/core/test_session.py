"""Sessions: which key is used when, and for how long."""

from __future__ import annotations

import pytest

from vipnet.core.session import Arrival, Session, Sessions
from vipnet.crypto.transport import Cipher
from vipnet.errors import CryptoError, ProtocolError
from vipnet.policy import OLD_KEY_S, REJECT_AFTER_COUNT, REJECT_AFTER_S, REKEY_AFTER_COUNT, REKEY_AFTER_S
from vipnet.types import Fqdn, Instant, PublicKey
from vipnet.wire.handshake import InitPayload

START = Instant(1000.0)
KEYS = bytes(range(32)), bytes(range(32, 64))
BOOT, NEXT_BOOT = b"boot one", b"boot two"


def make(
    *,
    ours: bool,
    at: float = START,
    index: int = 1,
    timestamp: int = 0,
    boot: bytes = BOOT,
    own: bytes = bytes(32),
    cipher: Cipher = Cipher.CHACHA20_POLY1305,
) -> Session:
    init = InitPayload(Fqdn("p.example"), timestamp, boot, (2,), (), 0, None)
    return Session(
        local_index=index,
        remote_index=index + 100,
        keys=KEYS,
        cipher=cipher,
        begun_at=Instant(at),
        begun_by_us=ours,
        boot_id=boot,
        own_key=PublicKey(own),
        peer_key=PublicKey(bytes(32)),
        arrival=None if ours else Arrival(init, 0, b"response %d" % timestamp),
    )


def test_what_the_initiator_seals_the_responder_opens_once() -> None:
    a, b = make(ours=True), make(ours=False)
    datagram = a.seal(b"hello", 1)
    assert b.open(datagram, 0) == b"hello\x01"
    with pytest.raises(ProtocolError, match="replayed"):
        b.open(datagram, 0)


def test_a_forged_datagram_does_not_move_the_window() -> None:
    a, b = make(ours=True), make(ours=False)
    first = a.seal(b"hello", 1)
    forged = first[:4] + (10**6).to_bytes(8, "big") + first[12:]
    with pytest.raises(CryptoError):
        b.open(forged, 10**6)
    assert b.open(first, 0) == b"hello\x01"


def test_each_datagram_gets_a_counter_of_its_own() -> None:
    session = make(ours=True)
    counters = [int.from_bytes(session.seal(b"", 0)[4:12], "big") for _ in range(5)]
    assert counters == [0, 1, 2, 3, 4]


def test_a_responder_may_not_send_before_the_initiator_proved_its_keys() -> None:
    sessions, session = Sessions(we_are_lower=True), make(ours=False)
    sessions.add(session, START)
    assert sessions.sending(START) is None
    sessions.confirm(session, START)
    assert sessions.sending(START) is session


def test_a_session_is_renewed_after_120_s_and_ends_after_180_s() -> None:
    sessions, session = Sessions(we_are_lower=True), make(ours=True)
    sessions.add(session, START)
    assert not session.wants_rekey(Instant(START + REKEY_AFTER_S - 1))
    assert session.wants_rekey(Instant(START + REKEY_AFTER_S))
    assert sessions.sending(Instant(START + REJECT_AFTER_S - 1)) is session
    assert sessions.sending(Instant(START + REJECT_AFTER_S)) is None


def test_a_session_is_renewed_and_ends_by_number_of_datagrams_too() -> None:
    sessions, session = Sessions(we_are_lower=True), make(ours=True)
    sessions.add(session, START)
    session.sent = REKEY_AFTER_COUNT
    assert session.wants_rekey(START)
    assert sessions.sending(START) is session
    session.sent = REJECT_AFTER_COUNT
    assert sessions.sending(START) is None


def test_a_superseded_key_opens_for_75_s() -> None:
    sessions = Sessions(we_are_lower=True)
    old, new = make(ours=True), make(ours=True, at=START + 120, index=2)
    sessions.add(old, START)
    sessions.add(new, new.begun_at)
    assert sessions.sending(new.begun_at) is new
    assert sessions.handle_timeout(Instant(new.begun_at + OLD_KEY_S - 1)) == []
    assert sessions.handle_timeout(Instant(new.begun_at + OLD_KEY_S)) == [old]
    assert sessions.all() == [new]


def test_every_deadline_is_served_by_handle_timeout() -> None:
    """A deadline that stays in the past would stop the clock of the whole host."""
    sessions = Sessions(we_are_lower=True)
    sessions.add(make(ours=True), START)
    sessions.add(make(ours=False, index=2), START)
    now, ends = START, 0
    while (at := sessions.next_timeout()) is not None:
        assert at > now
        now = at
        ends += len(sessions.handle_timeout(now))
    assert ends == 2
    assert sessions.all() == []


@pytest.mark.parametrize("we_are_lower", [True, False])
@pytest.mark.parametrize("ours_first", [True, False])
def test_of_crossing_handshakes_the_lower_keys_one_is_used(we_are_lower: bool, ours_first: bool) -> None:
    sessions = Sessions(we_are_lower=we_are_lower)
    ours, theirs = make(ours=True, index=1), make(ours=False, at=START + 0.1, index=2)
    sessions.add(theirs, START)
    if ours_first:
        sessions.add(ours, START)
        sessions.confirm(theirs, START)
    else:
        sessions.confirm(theirs, START)
        sessions.add(ours, START)
    assert sessions.sending(START) is (ours if we_are_lower else theirs)
    assert len(sessions.receiving()) == 2


def test_handshakes_with_different_keys_do_not_cross() -> None:
    """A rotation comes between them: whatever is newer is used."""
    sessions = Sessions(we_are_lower=True)
    sessions.add(make(ours=True), START)
    later = make(ours=False, at=START + 0.1, index=2, own=b"k" * 32)
    sessions.add(later, START)
    sessions.confirm(later, START)
    assert sessions.sending(START) is later


def test_a_later_handshake_does_not_cross() -> None:
    sessions = Sessions(we_are_lower=True)
    sessions.add(make(ours=True), START)
    later = make(ours=False, at=START + 60, index=2)
    sessions.add(later, later.begun_at)
    sessions.confirm(later, later.begun_at)
    assert sessions.sending(later.begun_at) is later


def test_a_handshake_of_the_peers_next_run_does_not_cross() -> None:
    """It has forgotten the other one, so that nobody could read what we seal under that."""
    sessions = Sessions(we_are_lower=True)
    sessions.add(make(ours=True), START)
    restarted = make(ours=False, at=START + 1, index=2, boot=NEXT_BOOT)
    sessions.add(restarted, restarted.begun_at)
    sessions.confirm(restarted, restarted.begun_at)
    assert sessions.sending(restarted.begun_at) is restarted


def test_many_inits_push_out_the_earliest_not_the_newest() -> None:
    """Who replays recorded inits must not keep the true one from being confirmed."""
    sessions = Sessions(we_are_lower=True)
    true = make(ours=False, index=1, timestamp=100)
    pushed_out = sessions.add(true, START)
    for number in range(2, 20):
        pushed_out += sessions.add(make(ours=False, index=number, timestamp=number), START)
    assert true in sessions.all()
    assert len(sessions.all()) + len(pushed_out) == 19
    assert len(sessions.all()) <= 4


def test_a_copy_of_an_init_finds_its_answer_until_it_is_confirmed() -> None:
    sessions, session = Sessions(we_are_lower=True), make(ours=False, timestamp=5)
    sessions.add(session, START)
    assert sessions.answer_to(5) == b"response 5"
    assert sessions.answer_to(6) is None
    sessions.confirm(session, START)
    assert sessions.answer_to(5) is None  # from here on the timestamp is stale


def test_a_confirmed_init_makes_earlier_ones_void() -> None:
    sessions = Sessions(we_are_lower=True)
    earlier, later, latest = (make(ours=False, index=n, timestamp=n) for n in (1, 2, 3))
    for session in (earlier, later, latest):
        sessions.add(session, START)
    assert sessions.confirm(later, START) == [earlier]
    assert sessions.all() == [later, latest]


def test_a_run_of_the_peers_daemon_ends_without_its_next_one() -> None:
    sessions = Sessions(we_are_lower=True)
    before, after = make(ours=True), make(ours=False, at=START + 9, index=2, boot=NEXT_BOOT)
    sessions.add(before, START)
    sessions.add(after, START)
    sessions.confirm(after, START)
    assert sessions.drop(BOOT) == [before]
    assert sessions.sending(START) is after
    assert sessions.drop(NEXT_BOOT) == [after]
    assert sessions.all() == []

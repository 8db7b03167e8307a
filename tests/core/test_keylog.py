"""Session keys are given away only when asked for, only those of sessions made from then on."""

from __future__ import annotations

import pytest
from tests.core.pairs import Tap, pair, session_at
from tests.sim.network import Network, SimHost

from vipnet.core.outputs import SessionKeys
from vipnet.crypto.transport import Cipher, OpeningKey
from vipnet.errors import CryptoError
from vipnet.wire.datagram import is_handshake


def log_keys(host: SimHost, on: bool) -> None:
    host._carry_out(host.node.people.log_keys(on, host.net.now))


def given_away(host: SimHost) -> SessionKeys | None:
    """The keys that HOST has given away last."""
    keys = host.told.get(SessionKeys)
    assert keys is None or isinstance(keys, SessionKeys)
    return keys


def opened(datagram: bytes, key: bytes, cipher: str) -> bool:
    try:
        OpeningKey(key, Cipher[cipher]).open(datagram)
    except CryptoError:
        return False
    return True


def test_nothing_is_given_away_unasked() -> None:
    net = Network(1)
    a, b = pair(net)
    assert given_away(a) is given_away(b) is None
    with pytest.raises(AssertionError):
        session_at(a, b).take_keys()  # nobody has kept them


def test_what_is_said_from_then_on_can_be_opened_and_what_was_said_before_cannot() -> None:
    net = Network(2)
    a, b = pair(net)
    tap = Tap(net)

    def sealed() -> list[tuple[SimHost, bytes]]:
        said = [(sender, bytes(transmit.payload)) for sender, transmit in tap.seen]
        tap.seen.clear()
        return [(sender, data) for sender, data in said if not is_handshake(data)]

    a.send(b, b"before")
    b.send(a, b"before")
    net.run_for(0.1)
    before = sealed()
    log_keys(a, True)
    net.run_for(0.2)
    a.send(b, b"meanwhile")
    b.send(a, b"meanwhile")
    net.run_for(0.1)
    keys = given_away(a)
    assert keys is not None
    assert keys.name == b.name
    after = [
        (sender, data)
        for sender, data in sealed()
        if int.from_bytes(data[:4]) in (keys.local_index, keys.remote_index)
    ]
    assert {sender for sender, _ in after} == {a, b}
    for sender, data in after:
        assert opened(data, keys.sealing if sender is a else keys.opening, keys.cipher)
        assert not opened(data, keys.opening if sender is a else keys.sealing, keys.cipher)
    assert len(before) >= 2
    for _, data in before:
        assert not any(opened(data, key, keys.cipher) for key in (keys.sealing, keys.opening))
    assert given_away(b) is None, "the other one is not asked"


def test_no_more_when_it_has_ended() -> None:
    net = Network(3)
    a, b = pair(net)
    log_keys(a, True)
    net.run_for(0.2)
    keys = given_away(a)
    assert keys is not None
    log_keys(a, False)
    b.crash()
    b.boot()
    net.run_until(lambda: b.can_reach(a))
    assert session_at(a, b).local_index != keys.local_index
    assert given_away(a) is keys


def test_who_has_no_traffic_is_left_alone() -> None:
    net = Network(4)
    a, b = pair(net)
    net.run_for(100)
    tap = Tap(net)
    log_keys(a, True)
    net.run_for(10)
    assert tap.from_host(a) == []
    a.send(b, b"again")
    net.run_for(1)
    assert b.received[-1] == b"again"

from __future__ import annotations

from ipaddress import IPv4Address

import msgspec
import pytest
from hypothesis import given
from tests.wire.values import messages

from vipnet.errors import WireError
from vipnet.policy import LOCATORS_MAX, MESSAGE_MAX, OFFER_PAGE
from vipnet.types import Locator, Token
from vipnet.wire import control
from vipnet.wire.control import Accept, Choose, Hint, Keepalive, Offer, TokenPair

PAIR = TokenPair(Token(IPv4Address("240.0.0.1")), Token(IPv4Address("240.0.0.2")))


@given(messages)
def test_messages_round_trip(message: control.ControlMessage) -> None:
    raw = control.encode(message)
    if len(raw) > MESSAGE_MAX:
        with pytest.raises(WireError, match="at most"):
            control.decode(raw)
    else:
        assert control.decode(raw) == message
        assert control.decode(memoryview(raw)) == message


def test_a_message_is_an_array_that_starts_with_its_number() -> None:
    assert control.encode(Keepalive()) == bytes.fromhex("9109")
    assert control.encode(Choose(PAIR, 3)) == bytes.fromhex("9403 92 c404f0000001 c404f0000002 03 c2")


def test_fields_of_later_versions_are_skipped() -> None:
    raw = msgspec.msgpack.encode([4, [PAIR.chooser.packed, PAIR.other.packed], 5, "new", {"more": 1}])
    assert control.decode(raw) == Accept(PAIR, 5)


def test_trailing_fields_with_defaults_may_be_missing() -> None:
    assert control.decode(msgspec.msgpack.encode([5, 9, []])) == Hint(9, ())


def test_the_longest_offer_and_hint_are_well_below_the_bound() -> None:
    offer = Offer(PAIR, (PAIR.chooser,) * OFFER_PAGE, (PAIR.other,) * OFFER_PAGE, 31)
    assert len(control.encode(offer)) < MESSAGE_MAX / 2
    locator = Locator("2001:db8:1111:2222:3333:4444:5555:6666", 65535)
    assert len(control.encode(Hint(2**63 - 1, (locator,) * LOCATORS_MAX))) < MESSAGE_MAX / 2


@pytest.mark.parametrize(
    "fields",
    [
        [],
        [0],
        [11],
        ["5"],
        [3],
        [3, [b"1234", b"1234"]],
        [3, [b"1234", b"123"], 1],
        [3, [b"1234", b"12345"], 1],
        [3, [b"1234", "1234"], 1],
        [3, [b"1234", b"1234"], 2**32],
        [3, [b"1234", b"1234"], -1],
        [3, [b"1234", b"1234"], 1, 1],
        [1, None, [b"1234"] * (OFFER_PAGE + 1), []],
        [1, None, [], [], 32],
        [2, 0],
        [5, 2**63, []],
        [5, 1, [["192.0.2.1", 1]] * (LOCATORS_MAX + 1)],
        [5, 1, [["192.0.2.1", 0]]],
        [5, 1, [["192.0.2.1"]]],
        [5, 1, [["localhost", 1]]],
        [5, 1, [], [[1, 0, 0, [[0, 1]] * 129]]],
        [5, 1, [], [[1, 0, 0]] * 5],
        [6, 1, bytes(7)],
        [7, bytes(9)],
        [10, "x" * 201],
    ],
)
def test_refused_messages(fields: list[object]) -> None:
    with pytest.raises(WireError, match="control message"):
        control.decode(msgspec.msgpack.encode(fields))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x91",
        control.encode(Keepalive()) + b"\0",
        b"\x91" * 1200,
        b"\xdd\xff\xff\xff\xff",
        b"\x92\x09" + b"\x91" * 1100,
    ],
)
def test_refused_bytes(data: bytes) -> None:
    with pytest.raises(WireError):
        control.decode(data)


def test_hooks_know_tokens_only() -> None:
    with pytest.raises(NotImplementedError, match="complex"):
        control.encode_hook(1j)
    with pytest.raises(ValueError, match="4 bytes"):
        control.decode_hook(IPv4Address, "240.0.0.1")

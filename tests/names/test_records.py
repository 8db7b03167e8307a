from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vipnet.names.records import (
    CapabilityRecord,
    capability_name,
    capability_of,
    format_marker,
    marker_name,
    parse_marker,
)
from vipnet.types import PublicKey, parse_name

KEY = PublicKey(bytes(range(32)))
TEXT = b"v=vip1 k=AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8= p=5847"
keys = st.binary(min_size=32, max_size=32).map(PublicKey)
ports = st.integers(1, 65535)


def test_capability_vector() -> None:
    """docs/protocol-names.md."""
    assert CapabilityRecord.parse(TEXT) == CapabilityRecord(KEY, 5847)
    assert str(CapabilityRecord(KEY, 5847)).encode() == TEXT


@given(keys, ports)
def test_capability_round_trip(key: PublicKey, port: int) -> None:
    record = CapabilityRecord(key, port)
    assert CapabilityRecord.parse(str(record).encode()) == record


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"v=spf1 -all",
        TEXT + b" ",
        b" " + TEXT,
        TEXT + b"\n",
        TEXT.replace(b" ", b"  ", 1),
        TEXT.replace(b" ", b"\t", 1),
        TEXT.replace(b"vip1", b"vip2"),
        TEXT.replace(b"v=vip1", b"V=VIP1"),
        TEXT.replace(b"p=5847", b"p=0"),
        TEXT.replace(b"p=5847", b"p=05847"),
        TEXT.replace(b"p=5847", b"p=65536"),
        TEXT.replace(b"p=5847", b"p=+5847"),
        TEXT.replace(b" p=5847", b""),
        TEXT + b" x=1",
        TEXT.replace(b"Hh8=", b"Hh9="),  # same key, spare bits set: not canonical
        TEXT.replace(b"Hh8=", b"Hh8"),
        TEXT.replace(b"AAEC", b"AAE-"),
        TEXT.replace(b"Hh8=", b"HwAA"),  # 33 bytes
        TEXT.replace(b"p=5847", "p=\N{FULLWIDTH DIGIT FIVE}847".encode()),
    ],
)
def test_anything_else_is_no_capability_record(text: bytes) -> None:
    assert CapabilityRecord.parse(text) is None


@given(st.binary(max_size=100))
def test_garbage_is_no_record(text: bytes) -> None:
    assert CapabilityRecord.parse(text) is None
    assert parse_marker(text) is None or text.startswith(b"seq=")


@given(st.lists(keys, min_size=1, max_size=4), st.randoms())
def test_several_records_are_read_alike_in_any_order(several: list[PublicKey], random: object) -> None:
    texts = [str(CapabilityRecord(key, 5847)).encode() for key in several] + [b"v=spf1 -all"]
    assert capability_of(texts) == capability_of(reversed(texts)) == CapabilityRecord(min(several), 5847)
    assert capability_of([b"v=spf1 -all"]) is None


@given(st.integers(0, 2**63 - 1))
def test_marker_round_trip(sequence: int) -> None:
    assert parse_marker(format_marker(sequence).encode()) == sequence


@pytest.mark.parametrize("text", [b"seq=", b"seq=-1", b"seq=01", b"seq=1 ", b"Seq=1", b"seq=%d" % 2**63])
def test_anything_else_is_no_marker(text: bytes) -> None:
    assert parse_marker(text) is None


def test_the_longest_name_leaves_room_for_its_records() -> None:
    longest = parse_name(".".join(["a" * 63, "b" * 63, "c" * 63, "d" * 51]))
    assert len(capability_name(longest)) < len(marker_name(longest)) == 253


def test_a_record_cannot_be_built_wrong() -> None:
    for key, port in ((KEY[:31], 5847), (KEY, 0), (KEY, 65536)):
        with pytest.raises(ValueError, match="capability record"):
            CapabilityRecord(PublicKey(key), port)
    assert base64.b64encode(KEY) in TEXT

"""DNS messages as they came: what can be read and changed without re-encoding them.

What is passed on has to stay what it was, so these functions work on the bytes.
Layout of a message: RFC 1035 section 4.1.
"""

from __future__ import annotations

import struct
from typing import Final

import dns.exception
import dns.name
import dns.wire
from dns.rdatatype import CNAME, OPT, TSIG
from msgspec import Struct

from vipnet.errors import WireError

HEADER: Final = 12  # bytes
UDP_PAYLOAD: Final = 1232  # bytes that we take in a datagram; DNS flag day 2020
UDP_MINIMUM: Final = 512  # bytes a client without EDNS takes; RFC 1035 section 4.2.1

_QR, _TC = 0x8000, 0x0200
_OPCODE = 0x7800
_ORDINARY = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")
_NAME_MAX = 255  # bytes; RFC 1035 section 2.3.4
# Answers to an ordinary query that may come without the question: the server could not read it
# (RFC 1035 section 4.1.1).
_QUESTIONLESS = frozenset({1, 2, 4, 5})


class Question(Struct, frozen=True):
    """The one question of a message; `name` is lower case, without the final dot."""

    name: str
    rdtype: int
    rdclass: int


class Record(Struct, frozen=True, gc=False):
    """A resource record, and at which offsets of its message the fields are."""

    rdtype: int
    rdclass: int
    owner_at: int
    ttl_at: int
    rdata_at: int


def parse_question(wire: bytes) -> Question:
    """Return the question of an ordinary query.

    Raise WireError for a response, another opcode, or not exactly one question.
    """
    _need_header(wire)
    flags, count = struct.unpack_from("!HH", wire, 2)
    if flags & (_QR | _OPCODE) or count != 1:
        raise WireError(f"not an ordinary query: flags {flags:#06x}, {count} questions")
    return _questions(wire, 1)[0]


def is_query(wire: bytes) -> bool:
    """True when WIRE has a header that does not say it is a response."""
    return len(wire) >= HEADER and not wire[2] & 0x80


def answers(query: bytes, reply: bytes) -> bool:
    """True when REPLY is a response to QUERY: same id, opcode and question (RFC 5452 section 9.1)."""
    if len(query) < HEADER or len(reply) < HEADER or query[:2] != reply[:2]:
        return False
    flags, reply_count = struct.unpack_from("!HH", reply, 2)
    asked_flags, asked_count = struct.unpack_from("!HH", query, 2)
    if not flags & _QR or (flags ^ asked_flags) & _OPCODE:
        return False
    if reply_count == 0:
        return flags & 0xF in _QUESTIONLESS or bool(flags & _OPCODE) or asked_count == 0
    if reply_count != asked_count:
        return False
    try:
        if asked_count == 1 and reply.startswith(query[HEADER : question_end(query)], HEADER):
            return True  # to the letter, as nearly always
        return _questions(reply, reply_count) == _questions(query, asked_count)
    except WireError:
        return False


def with_id(wire: bytes, message_id: bytes) -> bytes:
    """WIRE under another id of two bytes."""
    return message_id + wire[2:]


def has_aliases(reply: bytes) -> bool:
    """True when a CNAME is among the records of REPLY; False when it does not parse."""
    try:
        return any(record.rdtype == CNAME for record in records_in(reply))
    except WireError:
        return False


def is_truncated(wire: bytes) -> bool:
    return bool(struct.unpack_from("!H", wire, 2)[0] & _TC)


def rcode(wire: bytes) -> int:
    """The response code in the header, without the upper bits of EDNS."""
    return wire[3] & 0xF


def udp_limit(query: bytes) -> int:
    """How many bytes the sender of QUERY takes in a datagram (RFC 6891 section 6.2.3)."""
    try:
        opt = next((record for record in records_in(query) if record.rdtype == OPT), None)
    except WireError:
        return UDP_MINIMUM
    return UDP_MINIMUM if opt is None else max(opt.rdclass, UDP_MINIMUM)


def fit(reply: bytes, limit: int) -> bytes:
    """REPLY, or when it is longer than LIMIT its header and question with TC set (RFC 2181 section 9)."""
    if len(reply) <= limit:
        return reply
    flags, count = struct.unpack_from("!HH", reply, 2)
    try:
        end = _skip_questions(reply, count)
    except WireError:
        end, count = HEADER, 0
    return reply[:2] + struct.pack("!5H", flags | _TC, count, 0, 0, 0) + reply[HEADER:end]


def with_ttl_at_most(reply: bytes, ttl_s: int) -> bytes:
    """REPLY with no record to be cached longer than TTL_S. Raise WireError when it does not parse."""
    changed = bytearray(reply)
    for record in records_in(reply):
        # The field means something else there (RFC 6891 section 6.1.3, RFC 8945 section 4.2).
        if record.rdtype in (OPT, TSIG):
            continue
        if struct.unpack_from("!I", reply, record.ttl_at)[0] > ttl_s:
            struct.pack_into("!I", changed, record.ttl_at, ttl_s)
    return bytes(changed)


def text_of(name: dns.name.Name) -> str:
    """A name as it stands in `Fqdn` and `Question`: lower case, no final dot."""
    return name.to_text(omit_final_dot=True).lower()


def question_end(wire: bytes) -> int:
    """Return the offset behind the questions. Raise WireError when they end early."""
    _need_header(wire)
    return _skip_questions(wire, struct.unpack_from("!H", wire, 4)[0])


def records_in(wire: bytes) -> list[Record]:
    """The records of all three sections. Raise WireError when one ends early."""
    at = question_end(wire)
    records = []
    for _ in range(sum(struct.unpack_from("!3H", wire, 6))):
        owner_at, at = at, _skip_name(wire, at)
        if at + 10 > len(wire):
            raise WireError("DNS record ends early")
        rdtype, rdclass, _ttl, length = struct.unpack_from("!HHIH", wire, at)
        records.append(Record(rdtype, rdclass, owner_at, at + 4, at + 10))
        at += 10 + length
    if at > len(wire):
        raise WireError("DNS record ends early")
    return records


def _need_header(wire: bytes) -> None:
    if len(wire) < HEADER:
        raise WireError(f"DNS message of {len(wire)} bytes, a header has {HEADER}")


def _questions(wire: bytes, count: int) -> list[Question]:
    at, questions = HEADER, []
    for _ in range(count):
        name, at = _parse_name(wire, at)
        if at + 4 > len(wire):
            raise WireError("DNS question ends early")
        questions.append(Question(name, *struct.unpack_from("!HH", wire, at)))
        at += 4
    return questions


def _parse_name(wire: bytes, at: int) -> tuple[str, int]:
    """Return the name at AT as text in lower case, and the offset behind it."""
    end = _skip_name(wire, at)
    labels, label_at = [], at
    while label_at < end - 1 and wire[label_at] <= 63:
        labels.append(wire[label_at + 1 : label_at + 1 + wire[label_at]])
        label_at += 1 + wire[label_at]
    # Nearly every name is of these letters, and dnspython takes ten times as long.
    if label_at == end - 1 and end - at <= _NAME_MAX and _ORDINARY.issuperset(b"".join(labels)):
        return b".".join(labels).decode().lower() or ".", end
    parser = dns.wire.Parser(wire, at)
    try:
        return text_of(parser.get_name()), parser.current
    except dns.exception.DNSException as error:
        raise WireError(f"DNS question: {error or type(error).__name__}") from None


def _skip_questions(wire: bytes, count: int) -> int:
    at = HEADER
    for _ in range(count):
        at = _skip_name(wire, at) + 4
    if at > len(wire):
        raise WireError("DNS question ends early")
    return at


def _skip_name(wire: bytes, at: int) -> int:
    """Return the offset behind the name at AT; pointers are not followed."""
    while at < len(wire):
        length = wire[at]
        if length == 0:
            return at + 1
        if length >= 0xC0:
            return at + 2
        if length > 63:
            raise WireError("DNS name with an unknown kind of label")
        at += 1 + length
    raise WireError("DNS name ends early")

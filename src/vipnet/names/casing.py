"""0x20: the case of a question's letters as some more bits that a forger has to guess.

Servers answer a name in any case and repeat the question as it was asked. So a question
goes out with the case of each letter at random, and an answer that repeats it otherwise is
not believed (draft-vixie-dnsext-dns0x20). The application gets its own case back.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

from dns.rdatatype import CNAME, DNAME

from vipnet.errors import WireError
from vipnet.names.message import HEADER, question_end, records_in

_LOWER = bytes(range(0x61, 0x7B))


def mixed(query: bytes, random_bytes: Callable[[int], bytes]) -> bytes:
    """QUERY with the case of its question's letters at random.

    Left alone: other opcodes, several questions, and anything signed, whose signature covers
    the name (TSIG: RFC 8945 section 4.3.3, SIG(0): RFC 2931).
    """
    try:
        end = question_end(query)
    except WireError:
        return query
    flags, count = struct.unpack_from("!HH", query, 2)
    is_plain = end == len(query) or query[end : end + 3] == b"\0\0\x29"  # nothing or OPT follows
    if flags & 0xF800 or count != 1 or query[10:12] > b"\0\1" or not is_plain:
        return query
    changed = bytearray(query)
    coins = random_bytes(end - HEADER - 4)
    for at in _letters(query, HEADER, end - 4):
        changed[at] ^= coins[at - HEADER] & 0x20
    return bytes(changed)


def same_case(query: bytes, reply: bytes) -> bool:
    """True when REPLY repeats the question of QUERY to the letter, or repeats none."""
    end = question_end(query)
    return reply[4:6] == b"\0\0" or reply[HEADER:end] == query[HEADER:end]


def restored(reply: bytes, query: bytes, sent: bytes) -> bytes:
    """REPLY to SENT as if QUERY had been sent, the two differing in case alone."""
    if sent == query or reply[4:6] == b"\0\0":
        return reply
    end = question_end(query)
    changed = bytearray(reply)
    changed[HEADER:end] = query[HEADER:end]
    # Other names point at the question's, mostly. What does not is written out:
    first = sent[HEADER : HEADER + 1 + sent[HEADER]]
    if len(first) > 1 and reply.find(first, end) > 0:
        _restore_names(changed, query[HEADER : end - 4], sent[HEADER : end - 4])
    return bytes(changed)


def _restore_names(reply: bytearray, name: bytes, sent: bytes) -> None:
    """Names in REPLY that a server made from the question: owners, and what it takes a DNAME to."""
    wire = bytes(reply)
    try:
        records = records_in(wire)
    except WireError:
        return
    by_dname = False
    for record in records:
        if wire.startswith(sent, record.owner_at):
            reply[record.owner_at : record.owner_at + len(name)] = name
        by_dname = by_dname or record.rdtype == DNAME
        if record.rdtype == CNAME and by_dname:
            # RFC 6672 section 2.2: the labels before the DNAME's owner, then its target.
            _restore_labels(reply, record.rdata_at, name, sent)


def _restore_labels(reply: bytearray, at: int, name: bytes, sent: bytes) -> None:
    """Give the labels at AT, as far as they are those of SENT, the case of NAME."""
    begin = 0
    while sent[begin] > 0 and reply[at : at + 1 + sent[begin]] == sent[begin : begin + 1 + sent[begin]]:
        size = 1 + sent[begin]
        reply[at : at + size] = name[begin : begin + size]
        at, begin = at + size, begin + size


def _letters(wire: bytes, begin: int, end: int) -> list[int]:
    """Where the letters of the name at BEGIN are. Bytes of lengths are below 64 and are no letters."""
    return [at for at in range(begin, end) if wire[at] | 0x20 in _LOWER]

"""Whatever a stub resolver may ask: a zone with everything in it, and questions about it."""

from __future__ import annotations

import struct
from typing import Final

import dns.edns
import dns.exception
import dns.message
import dns.rrset
from hypothesis import strategies as st
from msgspec import Struct

ZONE: Final = "vipip.test"

_STRINGS: Final = " ".join(f'"{number:0200}"' for number in range(9))
# BIND takes 100 records of a type; these fill 1.6 KB and 61 KB.
_HOSTS: Final = "\n".join(f"many A 192.0.3.{1 + number}" for number in range(100))
_TEXTS: Final = "\n".join(
    "huge TXT " + " ".join(f'"{string:0250}"' for string in range(8 * number, 8 * number + 8))
    for number in range(30)
)
_LONG: Final = ".".join(["l" * 63, "m" * 63, "n" * 63])  # of 255 bytes with the zone, nearly all

RECORDS: Final = f"""
host A 192.0.2.9
host A 192.0.2.10
host AAAA 2001:db8::9
host HTTPS 1 . alpn=h2 ipv4hint=192.0.2.9
host SSHFP 4 2 123456789abcdef67890123456789abcdef67890123456789abcdef123456789
host MX 10 mail
host MX 20 host.other.test.
host CAA 0 issue "ca.example"
host LOC 52 22 23.000 N 4 53 32.000 E -2.00m 0.00m 10000m 10m
host TYPE65280 \\# 4 0A000001
MixedCase A 192.0.2.11
mail A 192.0.2.12
_sip._udp.host SRV 0 0 5060 host
_8443._https.host HTTPS 1 host
naptr NAPTR 100 10 "u" "E2U+sip" "!^.*$!sip:info@example.com!" .
big TXT {_STRINGS}
{_HOSTS}
{_TEXTS}
alias CNAME host
Chain1 CNAME chain2
chain2 CNAME Chain3
chain3 CNAME host
lost CNAME none
away CNAME www.other.test.
loop1 CNAME loop2
loop2 CNAME loop1
tree DNAME forest
leaf.forest A 192.0.2.13
text.forest TXT "x"
twice DNAME tree
escape DNAME other.test.
*.wild A 192.0.2.8
*.wild TXT "anything"
*.aliases CNAME host
{_LONG} A 192.0.2.14
sub NS ns.sub
ns.sub A 192.0.2.53
"""

_OWNERS: Final = [
    *("@", "ns", "host", "mixedcase", "mail", "_sip._udp.host", "_8443._https.host", "naptr", "big", "many"),
    *("huge", "alias", "chain1", "chain2", "lost", "away", "loop1", "tree", "leaf.tree", "none.tree"),
    *("leaf.twice", "x.escape", "forest", "leaf.forest", "wild", "x.wild", "y.x.wild", "x.aliases"),
    *("none", "a.none", "sub", "www.sub", "ns.sub", _LONG, "_vip.host", "_vip", "_http._tcp"),
]
_ELSEWHERE: Final = ["", "test", "other.test", "1.2.0.192.in-addr.arpa", "9.255.0.240.in-addr.arpa"]
_ELSEWHERE_CHAOS: Final = ["version.bind", "id.server"]
_TYPES: Final = [
    *(1, 2, 5, 6, 12, 13, 15, 16, 24, 25, 28, 29, 33, 35, 39, 41, 43, 44, 46, 47, 48, 52, 59, 64, 65, 99),
    *(108, 249, 250, 253, 254, 255, 256, 257, 65280, 65535, 0),
]


class Asked(Struct, frozen=True):
    """One question as bytes, and the way it goes."""

    wire: bytes
    tcp: bool

    def __repr__(self) -> str:
        return f"Asked({self.wire!r}, tcp={self.tcp})\n{_readable(self.wire)}"


@st.composite
def _labels(draw: st.DrawFn) -> list[bytes]:
    """A name as labels, in any case."""
    kind = draw(st.sampled_from(["owner"] * 8 + ["elsewhere", "bytes", "longest"]))
    if kind == "elsewhere":
        name = draw(st.sampled_from(_ELSEWHERE))
    elif kind == "longest":  # labels up to 255 bytes in all
        room = 255 - 1 - len(ZONE) - 1
        name = ""
        while room > 1:
            size = min(draw(st.integers(1, 63)), room - 1)
            name = f"{'x' * size}.{name}"
            room -= size + 1
        name += ZONE
    elif kind == "bytes":
        odd = [draw(st.binary(min_size=1, max_size=20)) for _ in range(draw(st.integers(1, 3)))]
        return odd + [label.encode() for label in ZONE.split(".")]
    else:
        owner = draw(st.sampled_from(_OWNERS))
        name = ZONE if owner == "@" else f"{owner}.{ZONE}"
    swap = draw(st.integers(0, 2**64 - 1))
    mixed = "".join(c.upper() if swap >> i % 64 & 1 else c for i, c in enumerate(name))
    return [label.encode() for label in mixed.split(".") if label]


@st.composite
def _edns(draw: st.DrawFn) -> bytes:
    """An OPT record (RFC 6891 section 6.1.2), or nothing."""
    if draw(st.integers(0, 3)) == 0:
        return b""
    payload = draw(st.sampled_from([0, 511, 512, 513, 800, 1220, 1232, 1452, 4096, 65535]))
    version = draw(st.sampled_from([0] * 9 + [1]))
    flags = draw(st.sampled_from([0, 0x8000, 0x8000, 0x4000]))  # DO, and one without a meaning
    options = b""
    for code, data in draw(st.lists(_options(), max_size=3, unique_by=lambda option: option[0])):
        options += struct.pack("!HH", code, len(data)) + data
    return b"\0" + struct.pack("!HHBBHH", 41, payload, 0, version, flags, len(options)) + options


def _options() -> st.SearchStrategy[tuple[int, bytes]]:
    return st.one_of(
        st.just((3, b"")),  # NSID, RFC 5001
        st.tuples(st.just(8), st.just(bytes([0, 1, 24, 0, 192, 0, 2]))),  # client subnet, RFC 7871
        st.just((9, b"")),  # EXPIRE, RFC 7314
        st.tuples(st.just(10), st.binary(min_size=8, max_size=8)),  # cookie, RFC 7873
        st.tuples(st.just(12), st.integers(0, 64).map(bytes)),  # padding, RFC 7830
        st.tuples(st.integers(65001, 65534), st.binary(max_size=16)),  # for experiments, RFC 6891
    )


@st.composite
def questions(draw: st.DrawFn) -> Asked:
    """Any question that a server answers."""
    labels = draw(_labels())
    rdtype = draw(st.one_of(st.sampled_from([1, 28]), st.sampled_from(_TYPES), st.integers(0, 65535)))
    rdclass = draw(st.sampled_from([1] * 12 + [3, 4, 254, 255, 4242]))
    if rdclass == 3 and draw(st.booleans()):
        labels = [label.encode() for label in draw(st.sampled_from(_ELSEWHERE_CHAOS)).split(".")]
    name = b"".join(bytes([len(label)]) + label for label in labels) + b"\0"
    # Random RD, AD, CD; seldom a flag that no question should have, or an opcode other than QUERY.
    flags = draw(st.sampled_from([0x0100, 0x0120, 0x0110, 0x0130, 0x0000, 0x0020]))
    if draw(st.integers(0, 9)) == 0:
        flags |= draw(st.sampled_from([0x0400, 0x0080, 0x0040]))  # AA, RA, Z; BIND ignores TC
    if draw(st.integers(0, 19)) == 0:
        flags |= draw(st.sampled_from([1, 2, 3, 6, 15])) << 11
    opt = draw(_edns())
    wire = struct.pack("!6H", 0, flags, 1, 0, 0, 1 if opt else 0)
    wire += name + struct.pack("!HH", rdtype, rdclass) + opt
    # AXFR and IXFR over TCP are streams for secondaries, not answers for stub resolvers.
    # BIND limits the rate of class CHAOS over UDP.
    return Asked(wire, rdclass == 3 or (rdtype not in (251, 252) and draw(st.booleans())))


def comparable(reply: bytes) -> object:
    """All of REPLY that must be equal: not the id, the order inside an RRset, what servers make up anew.

    The question must be equal to the letter, other names as names are (RFC 4343): which of them
    share the question's case depends on how a server happened to compress.
    """
    message = dns.message.from_wire(reply)
    return (
        int(message.flags),
        message.rcode(),
        [(rrset.name.labels, rrset.rdclass, rrset.rdtype) for rrset in message.question],
        (message.edns, int(message.ednsflags), message.payload),
        [_option(option) for option in message.options],
        [[_rrset(rrset) for rrset in section] for section in message.sections[1:]],
    )


def _rrset(rrset: dns.rrset.RRset) -> object:
    data = sorted(rdata.to_digestable() for rdata in rrset)
    return rrset.name, rrset.rdclass, rrset.rdtype, rrset.covers, rrset.ttl, data


def _option(option: dns.edns.Option) -> tuple[int, bytes]:
    wire = option.to_wire() or b""
    # A server's part of a cookie has a time stamp in it (RFC 9018 section 4.3).
    return int(option.otype), wire[:8] if option.otype == dns.edns.OptionType.COOKIE else wire


def _readable(wire: bytes) -> str:
    try:
        return dns.message.from_wire(wire).to_text()
    except (dns.exception.DNSException, ValueError) as error:
        return f"({error})"

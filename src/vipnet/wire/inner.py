"""What is inside the tunnel: IPv4 packets, and the ICMP answers to them."""

from __future__ import annotations

import struct
from enum import IntEnum
from ipaddress import IPv4Address
from typing import Final

from msgspec import Struct

from vipnet.errors import WireError
from vipnet.wire.checksum import checksum

# version and IHL, TOS, length, id, flags and fragment offset, TTL, protocol, checksum, source, destination
_IPV4 = struct.Struct("!BBHHHBBH4s4s")
_unpack_whole = struct.Struct("!BxH8x8s").unpack_from  # version and IHL, total length, both addresses
_ICMP = struct.Struct("!BBHHH")  # type, code, checksum, unused, next hop's MTU (RFC 1191 section 4)

IPV4_HEADER_MIN: Final = 20  # bytes
PROTOCOL_ICMP: Final = 1
PROTOCOL_TCP: Final = 6
PROTOCOL_UDP: Final = 17

_DONT_FRAGMENT, _MORE_FRAGMENTS, _FRAGMENT_OFFSET = 0x4000, 0x2000, 0x1FFF

_UNREACHABLE: Final = 3  # ICMP type
_ICMP_ERRORS: Final = frozenset({3, 4, 5, 11, 12})  # RFC 1122 section 3.2.2
_ICMP_PACKET_MAX: Final = 576  # bytes; RFC 1812 section 4.3.2.3
_ICMP_TOS: Final = 0xC0  # internetwork control; RFC 1812 section 4.3.2.5
_ICMP_TTL: Final = 64


class Unreachable(IntEnum):
    """Codes of ICMP destination unreachable that vipnet answers with."""

    HOST = 1  # RFC 792
    FRAGMENTATION_NEEDED = 4  # RFC 1191
    PROHIBITED = 13  # RFC 1812 section 5.2.7.1


class Ipv4(Struct, frozen=True, gc=False):
    """Header fields of an IPv4 packet (RFC 791 section 3.1); addresses are 4 bytes each."""

    source: bytes
    destination: bytes
    protocol: int
    header_size: int  # bytes, 20 to 60
    tos: int
    fragment_offset: int  # in units of 8 bytes
    dont_fragment: bool
    more_fragments: bool

    @property
    def is_fragment(self) -> bool:
        return self.more_fragments or self.fragment_offset != 0


def parse_ipv4(packet: bytes | memoryview) -> Ipv4:
    """Return the header of PACKET, which must be one whole IPv4 packet, else raise WireError.

    The header checksum is not looked at: the seal says more, and the kernel does it.
    """
    size = len(packet)
    if size < IPV4_HEADER_MIN:
        raise WireError(f"IPv4 packet: {size} bytes, need {IPV4_HEADER_MIN}")
    version_ihl, tos, total, _, fragment, _, protocol, _, source, destination = _IPV4.unpack_from(packet)
    header_size = (version_ihl & 0x0F) * 4
    if version_ihl >> 4 != 4:
        raise WireError(f"IP packet of version {version_ihl >> 4}")
    if not IPV4_HEADER_MIN <= header_size <= total:
        raise WireError(f"IPv4 packet: header of {header_size} bytes in {total}")
    if total != size:
        raise WireError(f"IPv4 packet: {size} bytes, its header says {total}")
    return Ipv4(
        source,
        destination,
        protocol,
        header_size,
        tos,
        fragment & _FRAGMENT_OFFSET,
        bool(fragment & _DONT_FRAGMENT),
        bool(fragment & _MORE_FRAGMENTS),
    )


def addresses_of(packet: bytes | memoryview) -> bytes | None:
    """Source and destination of PACKET; None when parse_ipv4 would not take it."""
    size = len(packet)
    if size < IPV4_HEADER_MIN:
        return None
    addresses: bytes
    first, total, addresses = _unpack_whole(packet)
    if total != size or not 0x45 <= first <= 0x4F or (first & 0x0F) << 2 > size:
        return None
    return addresses


def is_fragment(header: bytes | memoryview) -> bool:
    """Whether HEADER, an IPv4 one, is a fragment's, the first one's included."""
    return bool(header[6] & 0x3F or header[7])


def icmp_unreachable(
    packet: bytes | memoryview, code: Unreachable, source: bytes | IPv4Address, mtu: int = 0
) -> bytes | None:
    """Build the IPv4 packet that tells PACKET's sender it cannot be delivered.

    `source` is who says so: the token that could not be reached, never an address
    of this host, from which the kernel takes no packet that comes in by a device.
    `mtu`, in bytes, goes with FRAGMENTATION_NEEDED.

    Return None where RFC 1122 section 3.2.2 forbids an answer: to ICMP errors, to
    later fragments, and when either address does not stand for one host. Raise
    WireError when PACKET is not one whole IPv4 packet.
    """
    offending = parse_ipv4(packet)
    if not _may_be_answered(offending, packet):
        return None
    quoted = bytes(packet[: _ICMP_PACKET_MAX - IPV4_HEADER_MIN - _ICMP.size])
    total = checksum(_ICMP.pack(_UNREACHABLE, code, 0, 0, mtu) + quoted)
    message = _ICMP.pack(_UNREACHABLE, code, total, 0, mtu) + quoted
    sender = source.packed if isinstance(source, IPv4Address) else source
    return _ipv4_header(PROTOCOL_ICMP, sender, offending.source, len(message)) + message


def _may_be_answered(header: Ipv4, packet: bytes | memoryview) -> bool:
    if header.fragment_offset != 0:
        return False
    if not _is_one_host(header.source) or not _is_one_host(header.destination):
        return False
    if header.protocol != PROTOCOL_ICMP:
        return True
    # Without its type an ICMP message may be an error: be silent.
    return len(packet) > header.header_size and packet[header.header_size] not in _ICMP_ERRORS


def _is_one_host(address: bytes) -> bool:
    """Neither this-network, loopback, multicast nor broadcast. Class E stays: tokens live there."""
    first = address[0]
    return first not in (0, 127) and not 224 <= first <= 239 and address != b"\xff\xff\xff\xff"


def _ipv4_header(protocol: int, source: bytes, destination: bytes, body_size: int) -> bytes:
    """Return a header of 20 bytes with id 0 and DF, as an atomic packet may have (RFC 6864 section 4.1)."""
    fields = (0x45, _ICMP_TOS, IPV4_HEADER_MIN + body_size, 0, _DONT_FRAGMENT, _ICMP_TTL, protocol)
    total = checksum(_IPV4.pack(*fields, 0, source, destination))
    return _IPV4.pack(*fields, total, source, destination)

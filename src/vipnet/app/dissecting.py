"""A capture of the network, with sealed datagrams opened by a key log: for Wireshark and its Lua dissector.

The Lua of Wireshark 4.0, Debian 12's, has no cipher (GcryptCipher came later): so opening is done
here. What opens becomes a record of link type "Wireshark Upper PDU" for the dissector
`vipnet_opened` (examples/wireshark/vipnet.lua); all other packets are copied as they are.

    header of the datagram (12) | kind u8 | length u8, who sealed | length u8, for whom | body

The body is a whole IPv4 packet, the JSON of a control message, a probe's, or what the end of a train says.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator
from ipaddress import IPv4Address, ip_address
from typing import Any, BinaryIO, Final

import dpkt
import msgspec
from msgspec import Struct
from pcapng import FileWriter, blocks

from vipnet import __version__
from vipnet.app.keylog import KeyLine, Keys
from vipnet.errors import ConfigError, WireError
from vipnet.types import Locator
from vipnet.wire import control
from vipnet.wire.datagram import (
    COUNTERS_MAX,
    HEADER_SIZE,
    KIND_CONTROL,
    KIND_SIZE,
    KIND_TCP,
    KIND_TRAIN,
    SEAL_OVERHEAD,
    TAG_SIZE,
    DataHeader,
    counter_of,
    is_handshake,
)
from vipnet.wire.tcp import HEADERS_MAX, TcpRun, trailer_size

DISSECTOR: Final = b"vipnet_opened"
LINKTYPE_UPPER_PDU: Final = 252  # tcpdump.org/linktypes.html
_DISSECTOR_NAME, _END = 12, 0  # tags: wireshark, epan/exported_pdu.h
_IPV4_ENDS, _IPV6_ENDS = (20, 21), (22, 23)
_PORT_TYPE, _PORTS, _UDP = 24, (25, 26), 3
_RAW: Final = (12, 101, 228, 229)  # link types of an IP packet and nothing before it
_LINKS: Final[dict[int, Callable[[bytes], Any]]] = {
    1: dpkt.ethernet.Ethernet,
    113: dpkt.sll.SLL,
    276: dpkt.sll2.SLL2,
}


class Tally(Struct):
    """What became of sealed datagrams.

    unknown  of sessions that the key log does not have
    refused  of sessions that it has, and damaged or forged
    cut_off  the capture ends in the middle of a packet
    """

    opened: int = 0
    unknown: int = 0
    refused: int = 0
    cut_off: bool = False


class Datagram(Struct, frozen=True):
    """A UDP datagram: its ends are (address, port)."""

    source: tuple[str, int]
    destination: tuple[str, int]
    payload: bytes


def dissect(source: BinaryIO, target: BinaryIO, keys: Keys, name: str = "the capture") -> Tally:
    """Copy the capture SOURCE, pcap or pcapng, to TARGET, opened. Raise ConfigError when NAME is none."""
    try:
        reader = dpkt.pcap.UniversalReader(source)
    except (ValueError, dpkt.dpkt.Error, struct.error):
        raise ConfigError(f"{name} is neither a pcap nor a pcapng file: is it the right one?") from None
    link, tally = reader.datalink() & 0xFFFF, Tally()  # what is above says something of checksums
    section = blocks.SectionHeader(options={"shb_userappl": f"vipnet {__version__}"})
    section.new_member(blocks.InterfaceDescription, link_type=_canonical(link), snaplen=0)
    section.new_member(blocks.InterfaceDescription, link_type=LINKTYPE_UPPER_PDU, snaplen=0)
    writer = FileWriter(target, section)

    def write(interface: int, at_s: float, data: bytes) -> None:
        packet = section.new_member(blocks.EnhancedPacket, interface_id=interface)
        at_us = round(float(at_s) * 1_000_000)
        packet.timestamp_high, packet.timestamp_low = at_us >> 32, at_us & 0xFFFFFFFF
        packet.packet_data, packet.packet_len = data, len(data)
        writer.write_block(packet)

    for at_s, raw in _packets(reader, tally):
        datagram = udp(link, raw)
        sealed = () if datagram is None else tuple(split(datagram.payload))
        opened = [found for one in sealed if (found := _opened(one, keys, tally)) is not None]
        if datagram is None or len(opened) < max(len(sealed), 1):
            write(0, at_s, raw)
            continue
        for body in opened:
            write(1, at_s, _tags(datagram) + body)
    return tally


def _packets(reader: Iterable[tuple[float, bytes]], tally: Tally) -> Iterator[tuple[float, bytes]]:
    """What READER finds, until the end or something that is no packet."""
    packets = iter(reader)
    while True:
        try:
            at_s, raw = next(packets)
        except StopIteration:
            return
        except (dpkt.dpkt.Error, ValueError, struct.error):
            tally.cut_off = True
            return
        if raw:
            yield at_s, raw


def udp(link: int, raw: bytes) -> Datagram | None:
    """The UDP datagram in the frame RAW of link type LINK; None where there is none."""
    try:
        packet: Any
        if link in _RAW:
            packet = dpkt.ip.IP(raw) if raw[:1] and raw[0] >> 4 == 4 else dpkt.ip6.IP6(raw)
        elif link in _LINKS:
            packet = _LINKS[link](raw).data
        else:
            return None
    except (dpkt.dpkt.Error, IndexError):
        return None
    if not isinstance(packet, dpkt.ip.IP | dpkt.ip6.IP6) or not isinstance(packet.data, dpkt.udp.UDP):
        return None
    inner = packet.data
    ends = (str(ip_address(bytes(packet.src))), str(ip_address(bytes(packet.dst))))
    return Datagram((ends[0], inner.sport), (ends[1], inner.dport), bytes(inner.data))


def split(payload: bytes) -> Iterator[bytes]:
    """The sealed datagrams in PAYLOAD; before the kernel has cut them (UDP_SEGMENT) there are many.

    Where one ends is not written, but the next begins with the same index and the next counter,
    whether either is a piece of a train or not.
    """
    start = 0
    while start < len(payload) and not is_handshake(payload):
        try:
            header = DataHeader.decode(payload[start:])
        except WireError:
            return
        end = _find_next(payload, start + SEAL_OVERHEAD, header)
        yield payload[start:end]
        start = end


def _find_next(payload: bytes, start: int, header: DataHeader) -> int:
    """Where, from START on, the datagram behind that of HEADER begins: at the end, if there is none."""
    index = header.receiver_index.to_bytes(4)
    counter = ((counter_of(header.counter) + 1) % COUNTERS_MAX).to_bytes(6)
    at = payload.find(index, start)
    while at >= 0 and payload[at + 6 : at + HEADER_SIZE] != counter:
        at = payload.find(index, at + 1)
    return len(payload) if at < 0 else at


def _opened(datagram: bytes, keys: Keys, tally: Tally) -> bytes | None:
    header = DataHeader.decode(datagram)
    if header.receiver_index not in keys:
        tally.unknown += 1
        return None
    found = keys.open(header.receiver_index, datagram)
    if found is None or not found[1]:
        tally.refused += 1
        return None
    tally.opened += 1
    line, plaintext = found
    kind, body = plaintext[-1], plaintext[:-1]
    try:
        body = _readable(kind, body, counter_of(header.counter))
    except WireError:
        kind, body = 255, plaintext  # as the peer has sent it, whatever that is
    return datagram[:HEADER_SIZE] + bytes((kind,)) + _names(line) + body


def _readable(kind: int, body: bytes, counter: int) -> bytes:
    """BODY as Wireshark has dissectors for. Raise WireError when it is not what its kind says."""
    if kind == KIND_CONTROL:
        message = control.decode(body)
        return msgspec.json.encode({type(message).__name__: _named(message)})
    if kind == KIND_TCP:
        if not body:
            raise WireError("TCP trailer: no length")
        plaintext = body + bytes((kind,))
        payload_size = len(plaintext) - trailer_size(body[-1])
        if payload_size < 0:
            raise WireError("TCP trailer: longer than its datagram")
        run = TcpRun(plaintext[payload_size:], payload_size, counter)
        buffer = bytearray(HEADERS_MAX) + plaintext[:payload_size]
        return bytes(run.finish(memoryview(buffer), HEADERS_MAX).data)
    if kind == KIND_TRAIN and (not body or len(body) + KIND_SIZE != TAG_SIZE + 1 + trailer_size(body[-1])):
        raise WireError("end of a train: not as long as it says")
    return body


def _named(value: Any) -> Any:  # noqa: ANN401 - whatever a message holds
    """VALUE for people: the fields of structs by name, bytes in hexadecimal."""
    if isinstance(value, Locator | IPv4Address):
        return str(value)
    if isinstance(value, Struct):
        return {name: _named(getattr(value, name)) for name in value.__struct_fields__}
    if isinstance(value, tuple):
        return [_named(element) for element in value]
    return value.hex() if isinstance(value, bytes) else value


def _names(line: KeyLine) -> bytes:
    names = (line.sealed_by.encode()[:255], line.sealed_for.encode()[:255])
    return b"".join(bytes((len(name),)) + name for name in names)


def _tags(datagram: Datagram) -> bytes:
    """What Wireshark wants to know of a packet that it does not see all of."""
    (source, source_port), (destination, destination_port) = datagram.source, datagram.destination
    addresses = [ip_address(source), ip_address(destination)]
    kinds = _IPV4_ENDS if addresses[0].version == 4 else _IPV6_ENDS
    tags = [(_DISSECTOR_NAME, DISSECTOR)]
    tags += [(kind, address.packed) for kind, address in zip(kinds, addresses, strict=True)]
    tags.append((_PORT_TYPE, _UDP.to_bytes(4)))
    tags += list(zip(_PORTS, (source_port.to_bytes(4), destination_port.to_bytes(4)), strict=True))
    return b"".join(_tag(number, value) for number, value in (*tags, (_END, b"")))


def _tag(number: int, value: bytes) -> bytes:
    padded = value + bytes(-len(value) % 4)
    return struct.pack("!HH", number, len(padded)) + padded


def _canonical(link: int) -> int:
    """The number in files: 12 is what one system calls raw IP."""
    return 101 if link == 12 else link

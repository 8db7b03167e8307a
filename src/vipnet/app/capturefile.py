"""Packets with the names of their ends, as a pcapng file: for Wireshark, tshark and tcpdump.

https://datatracker.ietf.org/doc/draft-ietf-opsawg-pcapng/ has the blocks. Looked at for writing them:
python-pcapng has all that are needed; dpkt and scapy know no Name Resolution Block, and so no names.
"""

from __future__ import annotations

from typing import BinaryIO, Final

from pcapng import FileWriter, blocks

from vipnet import __version__
from vipnet.app.capturing import Begun, Missed, Named, News
from vipnet.app.tap import Sighting

LINKTYPE_RAW: Final = 101  # an IP packet and nothing before it (tcpdump.org/linktypes.html)
_NAME_IPV4: Final = 1  # nrb_record_ipv4
_INBOUND, _OUTBOUND = 1, 2  # epb_flags


class CaptureFile:
    """Writes what the daemon says to STREAM, in its order, so that it can be a pipe to Wireshark.

    written  packets so far
    missed   packets that the daemon had no room for, so far
    """

    def __init__(self, stream: BinaryIO) -> None:
        self.written = self.missed = 0
        self._stream = stream
        self._writer: FileWriter | None = None
        self._names: dict[str, str] = {}
        self._remarks: list[str] = []  # comments of the next packet

    def write(self, news: News) -> None:
        """Write one thing that the daemon said. Raise OSError when the stream takes no more."""
        if isinstance(news, Begun):
            self._begin(news)
        elif isinstance(news, Named):
            self._name(news)
        elif isinstance(news, Sighting):
            self._packet(news)
        else:
            self._miss(news)

    def flush(self) -> None:
        """What was written can be read now. Raise OSError."""
        self._stream.flush()

    def end(self) -> None:
        """Say at the end how many packets are missing."""
        if self._writer is None:
            return
        statistics = self._section.new_member(blocks.InterfaceStatistics, interface_id=0)
        statistics.options["isb_ifrecv"] = self.written + self.missed
        statistics.options["isb_ifdrop"] = self.missed
        self._write(statistics)
        self.flush()

    def _begin(self, begun: Begun) -> None:
        program = f"vipnet {__version__}"
        self._section = blocks.SectionHeader(options={"shb_userappl": program})
        options = {
            "if_name": begun.interface,
            "if_description": f"packets of applications on {begun.name}",
        }
        self._section.new_member(
            blocks.InterfaceDescription, link_type=LINKTYPE_RAW, snaplen=begun.snap, options=options
        )
        self._writer = FileWriter(self._stream, self._section)

    def _name(self, named: Named) -> None:
        if self._names.get(named.token) != named.name:
            self._names[named.token] = named.name
            record = {"type": _NAME_IPV4, "address": named.token, "names": [named.name]}
            self._write(self._section.new_member(blocks.NameResolution, records=[record]))
        if named.locator is not None:
            self._remarks.append(f"{named.name} is at {named.locator}")

    def _packet(self, seen: Sighting) -> None:
        block = self._section.new_member(blocks.EnhancedPacket, interface_id=0)
        at_us = seen.at_ns // 1000  # microseconds: what an interface without if_tsresol counts in
        block.timestamp_high, block.timestamp_low = at_us >> 32, at_us & 0xFFFFFFFF
        block.packet_data, block.packet_len = seen.data, seen.size
        block.options["epb_flags"] = _OUTBOUND if seen.sent else _INBOUND
        if self._remarks:
            block.options["opt_comment"] = self._remarks
            self._remarks = []
        self._write(block)
        self.written += 1

    def _miss(self, missed: Missed) -> None:
        more = missed.count - self.missed
        self._remarks.append(f"{more} packets are missing before this one: they were read too slowly")
        self.missed = missed.count

    def _write(self, block: blocks.Block) -> None:
        assert self._writer is not None  # noqa: S101 - the daemon says first whose packets they are
        self._writer.write_block(block)

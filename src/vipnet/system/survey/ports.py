"""Which programs listen, and where: /proc/net/tcp and its likes (proc(5))."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import Final, Literal

from msgspec import Struct

_LISTEN, _UDP_OPEN = 0x0A, 0x07  # net/tcp_states.h; an unconnected UDP socket is "closed"
_TABLES: Final[tuple[tuple[str, Literal["tcp", "udp"]], ...]] = (
    ("tcp", "tcp"),
    ("tcp6", "tcp"),
    ("udp", "udp"),
    ("udp6", "udp"),
)


class Listener(Struct, frozen=True, order=True):
    """A socket that waits for others; `program` is None where its owner may not be seen."""

    port: int
    protocol: Literal["tcp", "udp"]
    host: str
    program: str | None = None

    @property
    def everywhere(self) -> bool:
        """On all of this host's addresses, tun0's too."""
        return ip_address(self.host).is_unspecified

    @property
    def ip(self) -> IPv4Address | IPv6Address:
        found = ip_address(self.host)
        return found if isinstance(found, IPv4Address) else found.ipv4_mapped or found


def listeners() -> tuple[Listener, ...]:
    """Of the network namespace that this thread is in, by port; programs where /proc lets us see them."""
    found = [entry for table, protocol in _TABLES for entry in _sockets(table, protocol)]
    programs = _programs({inode for _, inode in found})
    return tuple(
        sorted(Listener(one.port, one.protocol, one.host, programs.get(inode)) for one, inode in found)
    )


def _sockets(table: str, protocol: Literal["tcp", "udp"]) -> Iterator[tuple[Listener, str]]:
    try:
        lines = Path(f"/proc/thread-self/net/{table}").read_text().splitlines()[1:]
    except OSError:
        return
    for line in lines:
        fields = line.split()
        if int(fields[3], 16) != (_LISTEN if protocol == "tcp" else _UDP_OPEN):
            continue
        host, _, port = fields[1].partition(":")
        yield Listener(int(port, 16), protocol, _address(host)), fields[9]


def _address(text: str) -> str:
    """Words of 32 bits in the machine's own byte order."""
    words = bytes.fromhex(text)
    packed = b"".join(
        int.from_bytes(words[at : at + 4], "big").to_bytes(4, "little" if _LITTLE else "big")
        for at in range(0, len(words), 4)
    )
    family = socket.AF_INET if len(packed) == 4 else socket.AF_INET6
    return socket.inet_ntop(family, packed)


_LITTLE: Final = socket.htons(1) != 1


def _programs(inodes: set[str]) -> dict[str, str]:
    """Who holds the sockets with these INODES."""
    wanted = {f"socket:[{inode}]": inode for inode in inodes}
    found: dict[str, str] = {}
    for process in Path("/proc").iterdir():
        if not process.name.isdigit():
            continue
        try:
            with os.scandir(process / "fd") as entries:
                links = [os.readlink(entry) for entry in entries]  # noqa: PTH115 - thousands of them
            held = [wanted[link] for link in links if link in wanted]
            if held:
                found.update(dict.fromkeys(held, (process / "comm").read_text().strip()))
        except OSError:  # not ours to see, or just gone
            continue
    return found

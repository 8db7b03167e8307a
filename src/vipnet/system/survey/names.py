"""How this host's programs look names up: resolv.conf, nsswitch.conf, /etc/hosts, and what comes out."""

from __future__ import annotations

import re
import socket
from collections.abc import Sequence
from functools import partial
from ipaddress import ip_address
from pathlib import Path
from typing import Final

import trio
from msgspec import Struct

ETC: Final = Path("/etc")
GETENT_S: Final = 4.0  # a resolver gives up after 5
_FILE_MAX: Final = 1 << 20  # bytes
_NSCD: Final = "/run/nscd/socket"
_RESOLVED_STUBS: Final = frozenset({"127.0.0.53", "127.0.0.54"})
_KEEPERS: Final = (  # what their comments say, in this order
    ("# Written by vipnet", "vipnet"),
    ("NetworkManager", "NetworkManager"),
    ("resolvconf", "resolvconf"),
    ("systemd-resolved", "systemd-resolved"),
    ("dhcpcd", "dhcpcd"),
    ("dhclient", "dhclient"),
    ("connman", "connman"),
)


class NamesFacts(Struct, frozen=True):
    """What decides who answers for a name.

    servers      of resolv.conf, in its order
    keeper       the program that resolv.conf says it comes from; None: nobody's
    sources      of `hosts:` in nsswitch.conf, actions such as [NOTFOUND=return] among them
    hosts        of /etc/hosts: address and names a line
    nscd         its cache answers
    hostname     the kernel's name of this host
    looked_up    by name: the IPv4 addresses that programs get; () for none
    """

    servers: tuple[str, ...]
    keeper: str | None
    sources: tuple[str, ...]
    hosts: tuple[tuple[str, tuple[str, ...]], ...]
    nscd: bool
    hostname: str
    looked_up: dict[str, tuple[str, ...]]

    def in_hosts(self, name: str) -> tuple[str, ...]:
        """The addresses that /etc/hosts gives NAME."""
        return tuple(address for address, names in self.hosts if name in names)


async def names(wanted: Sequence[str], etc: Path = ETC) -> NamesFacts:
    """Read the files, and have the system look up each of WANTED."""
    resolv = _read(etc / "resolv.conf")
    servers = servers_in(resolv)
    looked_up: dict[str, tuple[str, ...]] = {}

    async def look_up(name: str) -> None:
        looked_up[name] = await _getent(name)

    async with trio.open_nursery() as nursery:
        for name in wanted:
            nursery.start_soon(look_up, name)
    return NamesFacts(
        tuple(servers),
        keeper_of(resolv, servers),
        sources_in(_read(etc / "nsswitch.conf")),
        tuple(hosts_in(_read(etc / "hosts"))),
        _answers(_NSCD),
        socket.gethostname().lower(),
        looked_up,
    )


def servers_in(resolv: str) -> list[str]:
    """The name servers that this resolv.conf names; what is no address is left out, as glibc does."""
    found = []
    for text in re.findall(r"^[ \t]*nameserver[ \t]+(\S+)", resolv, re.MULTILINE):
        try:
            found.append(str(ip_address(text)))
        except ValueError:
            continue
    return found


def keeper_of(resolv: str, servers: Sequence[str]) -> str | None:
    """Who writes this resolv.conf, by its own words or by whom it names."""
    comments = "\n".join(line for line in resolv.splitlines() if line.startswith(("#", ";")))
    for words, keeper in _KEEPERS:
        if words in comments:
            return keeper
    return "systemd-resolved" if servers and _RESOLVED_STUBS.issuperset(servers) else None


def sources_in(nsswitch: str) -> tuple[str, ...]:
    """What `hosts:` says; glibc's default where nothing does (nsswitch.conf(5))."""
    found = re.search(r"^[ \t]*hosts:([^#\n]*)", nsswitch, re.MULTILINE)
    return tuple(re.findall(r"\[[^\]]*\]|\S+", found[1])) if found else ("dns", "[!UNAVAIL=return]", "files")


def hosts_in(text: str) -> list[tuple[str, tuple[str, ...]]]:
    found = []
    for line in text.splitlines():
        address, *rest = line.partition("#")[0].split() or [""]
        try:
            found.append((str(ip_address(address)), tuple(name.lower().rstrip(".") for name in rest)))
        except ValueError:
            continue
    return found


async def _getent(name: str) -> tuple[str, ...]:
    """What an application gets that asks for NAME's IPv4 addresses; () for none, or none in time."""
    run = partial(trio.run_process, capture_stdout=True, capture_stderr=True, check=False)
    with trio.move_on_after(GETENT_S):
        try:
            done = await run(["getent", "ahostsv4", name])
        except OSError:
            return ()
        return tuple(dict.fromkeys(line.split()[0] for line in done.stdout.decode().splitlines() if line))
    return ()


def _answers(path: str) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(path)
        except OSError:
            return False
    return True


def _read(path: Path) -> str:
    try:
        with path.open("rb") as opened:
            return opened.read(_FILE_MAX).decode("latin-1")
    except OSError:
        return ""

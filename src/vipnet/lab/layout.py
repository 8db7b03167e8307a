"""Names, addresses and paths of a lab, as values: who is where before anything exists."""

from __future__ import annotations

import hashlib
import os
import re
import string
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Final, Literal

import msgspec
from msgspec import Struct

from vipnet.errors import ConfigError
from vipnet.policy import DEFAULT_SUBNET

ROOT_VARIABLE: Final = "VIPNET_LAB_ROOT"  # the environment's, set by userns
ZONE: Final = "vipip.net"
ROUTER: Final = "r"
LEGACY: Final = "c"
DNS_ADDRESS: Final = "10.201.1.1"

# Further hosts are d, e, ...; c is the legacy host, r the router.
_LABELS: Final = ("a", "b", *(letter for letter in string.ascii_lowercase[3:] if letter != ROUTER))
_NUMBERS: Final = {"a": 10, "b": 20, LEGACY: 30} | {
    label: 40 + place for place, label in enumerate(_LABELS[2:])
}
_RENUMBER: Final = 100  # `move --kind readdress` adds this to a host's number, and takes it away again
_LAB_NAME: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,23}")  # a part of namespaces' and a socket's names
_RTT_MAX_MS: Final = 10_000.0
_COLLIDE_MAX: Final = 2**20  # addresses; about a second and a half of hashing

Lan = Literal[1, 2]
LANS: Final[tuple[Lan, Lan]] = (1, 2)
Family = Literal[4, 6]


class LabSpec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What `lab up` was asked for."""

    name: str = "lab"
    hosts: int = 2
    collide: bool = False
    dns: Literal["embedded", "bind"] = "embedded"
    profile: Literal["default", "paper"] = "default"
    hints: bool = True
    subnet: str = DEFAULT_SUBNET
    ipv6: bool = False
    legacy: bool = False
    rtt_ms: float = 0.0  # between any two hosts
    loss: float = 0.0  # per cent of what a host sends
    seed: int = 0  # of what is lost
    daemons: bool = True  # False: all is prepared for vipnet, but it does not run

    @property
    def impaired(self) -> bool:
        return self.rtt_ms > 0 or self.loss > 0


class LabHost(Struct, frozen=True):
    """One machine of the lab.

    label   first label of its name; also the name of its directory and NICs
    number  last byte of its addresses
    lan     the LAN it starts on
    """

    label: str
    number: int
    lan: Lan
    vipnet: bool = True

    @property
    def name(self) -> str:
        return f"{self.label}.{ZONE}"

    def address(self, lan: Lan, family: Family = 4, *, renumbered: bool = False) -> str:
        number = self.number + _RENUMBER * renumbered
        return f"10.201.{lan}.{number}" if family == 4 else f"fd00:201:{lan}::{number}"

    @property
    def key_name(self) -> str:
        """Name of its TSIG key: the host's own."""
        return self.name


class Layout(Struct, frozen=True):
    """A lab with its hosts; `root` is the directory of all labs."""

    spec: LabSpec
    hosts: tuple[LabHost, ...]
    root: Path

    @property
    def name(self) -> str:
        return self.spec.name

    @property
    def directory(self) -> Path:
        return self.root / self.name

    def host(self, label: str) -> LabHost:
        """Raise ConfigError when the lab has no such host."""
        for host in self.hosts:
            if label in (host.label, host.name):
                return host
        known = ", ".join(host.label for host in self.hosts)
        raise ConfigError(f"lab {self.name} has no host {label!r}; it has {known}")

    def netns(self, label: str) -> str:
        return f"vipnet-{self.name}-{label}"

    def host_directory(self, label: str) -> Path:
        return self.directory / label

    def config_file(self, label: str) -> Path:
        return self.host_directory(label) / "config.toml"

    def etc(self, label: str) -> Path:
        """What covers the machine's own files in /etc."""
        return self.host_directory(label) / "etc"

    def state_dir(self, label: str) -> Path:
        return self.host_directory(label) / "state"

    def run_dir(self, label: str) -> Path:
        return self.host_directory(label) / "run"

    def key_file(self, label: str) -> Path:
        return self.host_directory(label) / "key"

    def tsig_file(self, label: str) -> Path:
        return self.host_directory(label) / "tsig"

    @property
    def dns_directory(self) -> Path:
        return self.directory / "dns"

    @property
    def link_directory(self) -> Path:
        return self.directory / "link"

    @property
    def families(self) -> tuple[Family, ...]:
        return (4, 6) if self.spec.ipv6 else (4,)


def router_address(lan: Lan, family: Family) -> str:
    return f"10.201.{lan}.1" if family == 4 else f"fd00:201:{lan}::1"


def prefix_length(family: Family) -> int:
    return 24 if family == 4 else 64


def labs_directory() -> Path:
    """/run/vipnet-lab, or inside an ordinary user's run-time directory (see userns)."""
    return Path(os.environ.get(ROOT_VARIABLE) or "/run/vipnet-lab")


def plan(spec: LabSpec, root: Path) -> Layout:
    """Raise ConfigError when SPEC cannot be had."""
    if not _LAB_NAME.fullmatch(spec.name):
        raise ConfigError(
            f"--name {spec.name!r}: a lab's name is 1 to 24 characters of a-z, 0-9 and '-', not first '-'"
        )
    if not 2 <= spec.hosts <= len(_LABELS):
        raise ConfigError(f"--hosts {spec.hosts}: from 2 to {len(_LABELS)} are possible")
    if spec.collide and spec.hosts < 3:
        raise ConfigError("--collide needs a third host that collides with b: --hosts 3")
    if not 0 <= spec.rtt_ms <= _RTT_MAX_MS:
        raise ConfigError(f"--rtt {spec.rtt_ms:g}: from 0 to {_RTT_MAX_MS:g} ms are possible")
    if not 0 <= spec.loss <= 100:
        raise ConfigError(f"--loss {spec.loss:g}: per cent, from 0 to 100")
    labels = _LABELS[: spec.hosts]
    hosts = [LabHost(label, _NUMBERS[label], LANS[place % 2]) for place, label in enumerate(labels)]
    if spec.collide:
        last = hosts.pop()
        hosts.append(msgspec.structs.replace(last, label=_colliding_label(_subnet(spec.subnet))))
    else:
        _subnet(spec.subnet)
    if spec.legacy:
        hosts.append(LabHost(LEGACY, _NUMBERS[LEGACY], 1, vipnet=False))
    return Layout(spec, tuple(hosts), root)


def _subnet(text: str) -> IPv4Network:
    try:
        return IPv4Network(text)
    except ValueError as error:
        raise ConfigError(f"--subnet {text}: {error}; must be like 240.0.0.0/4") from None


def _colliding_label(subnet: IPv4Network) -> str:
    """Return d0, d1, ...: the first whose candidate token is b's."""
    if subnet.num_addresses > _COLLIDE_MAX:
        raise ConfigError(
            f"--collide: in {subnet} it would take about {subnet.num_addresses:,} names; "
            "add --subnet 240.0.0.0/28"
        )
    wanted = first_candidate(f"b.{ZONE}", subnet)
    number = 0
    while first_candidate(f"d{number}.{ZONE}", subnet) != wanted:
        number += 1
    return f"d{number}"


def first_candidate(name: str, subnet: IPv4Network) -> IPv4Address:
    """The token that NAME asks for first (docs/protocol.md, tokens).

    Written a second time on purpose: the lab does not trust what it tests.
    """
    ends = (subnet.network_address, subnet.broadcast_address)
    for n in range(2**32):
        digest = hashlib.blake2s(name.encode() + b"\0" + n.to_bytes(4, "big")).digest()
        address = subnet[int.from_bytes(digest[:8], "big") % subnet.num_addresses]
        if address not in ends and int(address) >> 24 != 255:
            return address
    raise AssertionError("a subnet without a usable address")

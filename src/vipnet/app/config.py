"""The configuration file: its keys, their defaults, and the rules between them.

Whoever adds a key adds a field here ([publish]: in publishconfig.py), says in the docstring what it is
for, and a line to examples/config.toml. The documentation's page is made from these docstrings.
"""

from __future__ import annotations

from ipaddress import IPv4Network, ip_address
from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta, field

from vipnet.app import toml
from vipnet.app.publishconfig import Publish
from vipnet.app.texts import (
    DNS_PORT,
    Host,
    HostPort,
    InterfaceName,
    InterfacePattern,
    NamePattern,
    SecretPath,
    is_address,
)
from vipnet.app.toml import Section
from vipnet.errors import ConfigError
from vipnet.policy import DEFAULT_PORT, DEFAULT_SUBNET, DEFAULT_TUN_MTU, Policy, paper_policy
from vipnet.types import Fqdn, Locator, Port, PublicKey

DEFAULT_PATH: Final = Path("/etc/vipnet/config.toml")
_SIZE_MAX: Final = 1 << 20  # bytes; a thousand peers take a tenth


def _check_subnet(subnet: IPv4Network) -> None:
    label = f'subnet = "{subnet}"'
    if not 4 <= subnet.prefixlen <= 30:
        raise ValueError(f"{label}: its prefix must be from /4 to /30")
    reserved = {
        "0.0.0.0/8": "this network (RFC 1122)",
        "127.0.0.0/8": "loopback",
        "169.254.0.0/16": "link-local",
        "224.0.0.0/4": "multicast",
    }
    for network, what in reserved.items():
        if subnet.overlaps(IPv4Network(network)):
            raise ValueError(f"{label} overlaps {network}, {what}; {DEFAULT_SUBNET} is unused everywhere")


TunMtu = Literal["auto"] | Annotated[int, Meta(ge=576, le=9000)]  # bytes; below: RFC 791 section 3.2


class Tun(Section, frozen=True):
    """The virtual interface, and the addresses that stand for names.

    interface  its name
    subnet     where tokens come from, /4 to /30; hosts that are to meet need subnets that overlap
    exclude    parts of the subnet that are never used as tokens
    mtu        bytes of a packet inside; auto: what fits into 1,500, more where an interface has jumbo frames
    offloads   let the kernel leave checksums and segments to us, where it can; false is slower, for
               kernels whose checksums or segments come out wrong
    """

    interface: InterfaceName = InterfaceName("tun0")
    subnet: IPv4Network = IPv4Network(DEFAULT_SUBNET)
    exclude: tuple[IPv4Network, ...] = ()
    mtu: TunMtu = "auto"
    offloads: bool = True

    @property
    def first_mtu(self) -> int:
        """That of the interface while nothing is known of the networks that the host is in."""
        return DEFAULT_TUN_MTU if self.mtu == "auto" else self.mtu

    def __post_init__(self) -> None:
        _check_subnet(self.subnet)
        for network in self.exclude:
            if self.subnet.subnet_of(network):
                raise ValueError(f"exclude = {network} leaves nothing of subnet = {self.subnet}")
            if not network.subnet_of(self.subnet):
                raise ValueError(f"exclude = {network} is not inside subnet = {self.subnet}")


class Transport(Section, frozen=True):
    """The UDP side.

    port             of all that is sent and received; the firewall has to let it through
    interfaces       whose addresses partners are told; empty: all that lead to other hosts, but no
                     tunnels and no bridges of containers
    nat_keepalive_s  seconds between keepalives to active partners, which hold a NAT's mapping open;
                     0: none; 25 is right for most home routers
    dscp             DiffServ codepoint of what is sent (RFC 2474)
    offloads         let the kernel cut and join datagrams, where it can; false is slower, for network
                     drivers that spoil such datagrams
    """

    port: Port = DEFAULT_PORT
    interfaces: tuple[InterfacePattern, ...] = ()
    nat_keepalive_s: Annotated[float, Meta(ge=0, le=60)] = 0.0
    dscp: Annotated[int, Meta(ge=0, le=63)] = 0
    offloads: bool = True


class Mobility(Section, frozen=True):
    """How moves are made known (section 3.2 of the paper).

    profile          paper: fixed hint time-out, look-up before sending, nothing kept for a replay
    lease_s          seconds for which a partner's address is believed after the last packet (T of the paper)
    hint_timeout_ms  at most so long is an unanswered hint waited for before DNS is asked
    hints            false: tell nobody of a move, let partners find out by DNS; for experiments
    """

    profile: Literal["default", "paper"] = "default"
    lease_s: Annotated[float, Meta(gt=0, le=60)] = 60.0  # below OLD_KEY_S: a lease is renewed by a key
    hint_timeout_ms: Annotated[float, Meta(ge=10, le=60_000)] = 500.0
    hints: bool = True

    def __post_init__(self) -> None:
        if self.lease_s * 1000 <= self.hint_timeout_ms:
            raise ValueError(
                f"lease_s = {self.lease_s:g} must exceed hint_timeout_ms = {self.hint_timeout_ms:g}, "
                "or a lease ends before a retry"
            )

    def policy(self) -> Policy:
        """The profile's numbers, with what this table overrides."""
        profile = paper_policy() if self.profile == "paper" else Policy()
        return msgspec.structs.replace(
            profile, lease_s=self.lease_s, hint_timeout_s=self.hint_timeout_ms / 1000, hints=self.hints
        )


class Dns(Section, frozen=True):
    """The local resolver.

    listen         where it listens, on the loopback; another port than 53 only with hook = "none"
    hook           how programs come to ask it: by systemd-resolved, resolvconf or /etc/resolv.conf;
                   auto: whichever keeps that file; none: you see to it
    vip_names      names that may belong to vipnet hosts; others are passed on as they are
    bypass         names that are always answered as they are in DNS
    require        names that are never answered with their real address, whatever DNS says
    upstreams      resolvers to ask; empty: those of the original /etc/resolv.conf
    dnssec         whether keys from DNS are validated; allow-downgrade: where the network lets us
    trust_anchors  a file with DS or DNSKEY records of zones that are trusted, besides the root's own
    """

    listen: Locator = Locator("127.0.0.47", DNS_PORT)
    hook: Literal["auto", "resolved", "resolvconf", "file", "none"] = "auto"
    vip_names: tuple[NamePattern, ...] = (NamePattern("*"),)
    bypass: tuple[NamePattern, ...] = ()
    require: tuple[NamePattern, ...] = ()
    upstreams: tuple[Locator, ...] = ()
    dnssec: Literal["allow-downgrade", "yes", "no"] = "allow-downgrade"
    trust_anchors: Path | None = None

    def __post_init__(self) -> None:
        if self.hook != "none" and self.listen.port != DNS_PORT:
            raise ValueError(
                f'listen = "{self.listen}": the system asks port {DNS_PORT} only; or set hook = "none"'
            )
        if not (is_address(self.listen.host) and ip_address(self.listen.host).is_loopback):
            raise ValueError(
                f'listen = "{self.listen}": the tokens are this host\'s alone, so nobody else may ask: '
                "an address of the loopback, in 127.0.0.0/8 or ::1"
            )
        if self.listen in self.upstreams:
            raise ValueError(
                f'upstreams = "{self.listen}": that is listen; a question would go round for ever'
            )


class Metrics(Section, frozen=True):
    """Numbers for Prometheus on a port; `vipnet metrics` needs none.

    port     TCP; None: none is open
    address  of this host; who reaches it learns whom this host speaks with
    """

    port: Port | None = None
    address: Host = Host("127.0.0.1")

    def __post_init__(self) -> None:
        if not is_address(self.address):
            raise ValueError(f'address = "{self.address}": must be an IP address of this host, or "0.0.0.0"')


class Accept(Section, frozen=True):
    """Who may open a session to this host.

    from      names allowed to; names contacted first are always allowed
    xx        answer hosts that do not know our key (Noise XX)
    callback  where DNS has an address and no key, believe the key that is found there
    """

    from_: tuple[NamePattern, ...] = field(default=(), name="from")
    xx: bool = False
    callback: bool = False


class PeerConfig(Section, frozen=True):
    """A peer known by hand; any number of these tables.

    name      its DNS name
    key       from `vipnet key show` there; absent: the first one it shows is kept
    address   where to try besides what DNS says
    psk_file  a pre-shared key, mixed into the handshake
    """

    name: Fqdn
    key: PublicKey | None = None
    address: HostPort | None = None
    psk_file: SecretPath | None = None


class Config(Section, frozen=True):
    """All of the configuration file; only `name` has no default.

    name       this host's name, in a DNS zone that you can update
    key_file   the private key, mode 0600; `vipnet init` makes it
    state_dir  what survives a restart: bindings of names to tokens, and what is known of peers
    run_dir    the control socket and the log
    """

    name: Fqdn
    key_file: Path = Path("/etc/vipnet/key")
    state_dir: Path = Path("/var/lib/vipnet")
    run_dir: Path = Path("/run/vipnet")
    tun: Tun = Tun()
    transport: Transport = Transport()
    mobility: Mobility = Mobility()
    dns: Dns = Dns()
    publish: Publish = Publish()
    accept: Accept = Accept()
    metrics: Metrics = Metrics()
    peers: tuple[PeerConfig, ...] = field(default=(), name="peer")

    def __post_init__(self) -> None:
        self._check_names()
        self._check_addresses()
        if self.transport.nat_keepalive_s >= self.mobility.lease_s:
            raise ValueError(
                f"[transport] nat_keepalive_s = {self.transport.nat_keepalive_s:g} must be less than "
                f"[mobility] lease_s = {self.mobility.lease_s:g}, or leases end between two"
            )

    def _check_names(self) -> None:
        self.publish.check_name(self.name)
        zone = self.publish.zone
        if zone is not None and not f".{self.name}".endswith(f".{zone}"):
            raise ValueError(f'[publish] zone = "{zone}": name = "{self.name}" is not in it')
        seen = {self.name}
        for peer in self.peers:
            if peer.name in seen:
                what = "this host's own name" if peer.name == self.name else "there twice"
                raise ValueError(f'[[peer]] name = "{peer.name}" is {what}')
            seen.add(peer.name)

    def _check_addresses(self) -> None:
        """Real addresses inside the token subnet could never be reached: packets would go round in tun0."""
        real = [("[dns] listen", self.dns.listen.host)]
        real += [("[dns] upstreams", upstream.host) for upstream in self.dns.upstreams]
        real += [("[[peer]] address", peer.address.host) for peer in self.peers if peer.address]
        if self.publish.server is not None:
            real.append(("[publish] server", self.publish.server))
        real += [("[publish] address", source) for source in self.publish.address]
        for label, host in real:
            if is_address(host) and ip_address(host) in self.tun.subnet:
                raise ValueError(f'{label} = "{host}" is inside [tun] subnet = "{self.tun.subnet}"')


def load_config(path: Path) -> Config:
    """Read and check PATH.

    Raise ConfigError, one line that names the file, the key, its value and what is allowed.
    """
    try:
        with path.open("rb") as file:
            data = file.read(_SIZE_MAX + 1)
        if len(data) > _SIZE_MAX:
            raise ConfigError(f"over {_SIZE_MAX:,} bytes: is it the right file?")
        return toml.decode(data, Config)
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file; `vipnet init NAME` writes one") from None
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}; is it a file that this user may read?") from None
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None

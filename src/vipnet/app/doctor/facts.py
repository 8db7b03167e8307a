"""All that the checks judge, in one struct: gather.py fills it."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct

from vipnet.app.config import Config
from vipnet.system.survey.files import DirectoryFacts, FileFacts
from vipnet.system.survey.firewall import FirewallFacts
from vipnet.system.survey.kernel import KernelFacts, OffloadFacts
from vipnet.system.survey.names import NamesFacts
from vipnet.system.survey.network import NetworkFacts
from vipnet.system.survey.ports import Listener


class TunStatus(Struct, frozen=True):
    interface: str
    token: str | None
    subnet: str
    mtu: int


class DnsStatus(Struct, frozen=True):
    listen: str
    hook: str
    note: str | None = None


class PublishStatus(Struct, frozen=True):
    provider: str
    state: str
    address: str | None
    error: str | None


class PeerStatus(Struct, frozen=True):
    name: str
    token: str | None
    state: str
    locator: str | None
    srtt_ms: float | None
    heard_s: float | None = None
    path_mtu: int | None = None


class DaemonStatus(Struct, frozen=True):
    """Of `vipnet status --json`, what the checks look at."""

    name: str
    state: str
    tun: TunStatus
    locators: tuple[str, ...]
    dns: DnsStatus
    publish: PublishStatus
    peers: tuple[PeerStatus, ...]
    counters: Mapping[str, int]
    offloads: Mapping[str, bool] = {}

    @property
    def hosts(self) -> tuple[str, ...]:
        """The addresses of its locators."""
        return tuple(locator.rpartition(":")[0].strip("[]") for locator in self.locators)


class Ping(Struct, frozen=True):
    """What came of a ping by the daemon's own path: the round trip, or the first step that failed."""

    rtt_ms: float | None
    problem: str | None = None


class ServerAnswer(Struct, frozen=True):
    """What one name server says of our name; `problem` when it says nothing of use.

    has_key  it has our capability record; None: it has none
    """

    server: str
    addresses: tuple[str, ...] = ()
    has_key: bool | None = None
    problem: str | None = None


class TsigAnswer(Struct, frozen=True):
    """What the primary made of a question signed with our key.

    error     BADKEY, BADSIG, BADTIME, or another refusal; None: it liked the signature
    offset_s  this host's clock less the server's
    """

    server: str
    error: str | None = None
    offset_s: float | None = None
    problem: str | None = None


class ClockSource(Struct, frozen=True):
    """A clock that can be compared with ours.

    offset_s  ours less that one
    exact     to a few seconds; else a bound: signatures are valid for days
    """

    name: str
    offset_s: float
    exact: bool


class DnsFacts(Struct, frozen=True):
    """What DNS says.

    upstreams      the network's resolvers
    upstream       what they say of our name
    software       of the first of them, by its own words (version.bind)
    servers        of our zone, each asked by itself; the primary alone where they are not known
    zone_problem   why they are not known
    first_server   the first name server of resolv.conf: what it says of our name
    listener       where vipnet listens: what it says of our name; None without a daemon
    """

    upstreams: tuple[str, ...] = ()
    upstream: ServerAnswer | None = None
    software: str | None = None
    servers: tuple[ServerAnswer, ...] = ()
    zone_problem: str | None = None
    first_server: ServerAnswer | None = None
    listener: ServerAnswer | None = None
    tsig: TsigAnswer | None = None
    clocks: tuple[ClockSource, ...] = ()


class Facts(Struct, frozen=True):
    """One look at this host.

    config         None: there is none that can be read
    daemon         None: none runs
    last_words     of the daemon that ran before, if they were a complaint
    is_root        whether this look could see everything
    underlay       this host's own addresses, best first, and the interface of each
    overlap        a route in the way of the token subnet
    pings          by partner
    """

    config: Config | None
    config_problem: str | None
    daemon: DaemonStatus | None
    daemon_problem: str | None
    last_words: str | None
    is_root: bool
    kernel: KernelFacts
    offloads: OffloadFacts
    network: NetworkFacts
    underlay: Mapping[str, str]
    overlap: str | None
    firewall: FirewallFacts
    names: NamesFacts
    dns: DnsFacts
    listeners: tuple[Listener, ...]
    files: tuple[FileFacts, ...]
    directories: tuple[DirectoryFacts, ...]
    pings: Mapping[str, Ping]

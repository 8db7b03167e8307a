"""A host on which all is well, to be spoilt in one place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from msgspec import structs

from vipnet.app.config import Config, Tun
from vipnet.app.doctor.facts import (
    ClockSource,
    DaemonStatus,
    DnsFacts,
    DnsStatus,
    Facts,
    PeerStatus,
    Ping,
    PublishStatus,
    ServerAnswer,
    TsigAnswer,
    TunStatus,
)
from vipnet.app.publishconfig import Publish
from vipnet.system.survey.files import DirectoryFacts, FileFacts
from vipnet.system.survey.firewall import FirewallFacts
from vipnet.system.survey.kernel import KernelFacts, OffloadFacts
from vipnet.system.survey.names import NamesFacts
from vipnet.system.survey.network import Interface, NetworkFacts
from vipnet.types import Fqdn

NAME, TOKEN, ADDRESS = "a.example.org", "241.2.3.4", "10.0.0.5"
PARTNER = PeerStatus("b.example.org", "240.9.9.9", "active", "10.0.0.6:5847", 0.4, 1.5)

CONFIG = Config(
    Fqdn(NAME),
    publish=Publish(provider="rfc2136", zone="example.org", key_secret_file=Path("/etc/vipnet/tsig")),  # type: ignore[arg-type]
)
DAEMON = DaemonStatus(
    NAME,
    "ready",
    TunStatus("tun0", TOKEN, "240.0.0.0/4", 1420),
    (f"{ADDRESS}:5847",),
    DnsStatus("127.0.0.47:53", "file"),
    PublishStatus("rfc2136", "ok", ADDRESS, None),
    (PARTNER,),
    {"token_refused": 0},
    {"tun": True, "udp_send": True, "udp_receive": True},
)
OURS = ServerAnswer("127.0.0.47:53", (TOKEN,))
HEALTHY = Facts(
    config=CONFIG,
    config_problem=None,
    daemon=DAEMON,
    daemon_problem=None,
    last_words=None,
    is_root=True,
    kernel=KernelFacts("Linux", "6.1.0-13-amd64", None, (1 << 40) - 1, is_daemons=True),
    offloads=OffloadFacts(tun=True, udp_send=True, udp_receive=True),
    network=NetworkFacts(
        (
            Interface("lo", 65_536, "127.0.0.1", 0),
            Interface("eth0", 1500, ADDRESS, 2),
            Interface("tun0", 1420, TOKEN, 0),
        ),
        default_route=True,
        forwards=False,
    ),
    underlay={ADDRESS: "eth0"},
    overlap=None,
    firewall=FirewallFacts(b'{"nftables": []}', (), None),
    names=NamesFacts(
        ("127.0.0.47",),
        "vipnet",
        ("files", "dns"),
        (("127.0.0.1", ("localhost",)),),
        False,
        "a",
        {NAME: (TOKEN,), PARTNER.name: ("240.9.9.9",)},
    ),
    dns=DnsFacts(
        upstreams=("10.0.0.1:53",),
        upstream=ServerAnswer("10.0.0.1:53", (ADDRESS,), True),
        servers=(ServerAnswer("10.0.0.53:53", (ADDRESS,), True),),
        first_server=OURS,
        listener=OURS,
        tsig=TsigAnswer("10.0.0.53:53", None, 0.2),
        clocks=(ClockSource("the clock of 10.0.0.53:53", 0.2, exact=True),),
    ),
    listeners=(),
    files=(FileFacts("/etc/vipnet/key", "key_file", 0o600, 0),),
    directories=(
        DirectoryFacts("/var/lib/vipnet", "state_dir", True, None, 1 << 33),
        DirectoryFacts("/run/vipnet", "run_dir", True, None, 1 << 30),
    ),
    pings={PARTNER.name: Ping(0.4)},
)
WITHOUT_CONFIG = structs.replace(
    HEALTHY,
    config=None,
    config_problem="/etc/vipnet/config.toml: no such file; `vipnet init NAME` writes one",
    daemon=None,
    network=structs.replace(HEALTHY.network, interfaces=HEALTHY.network.interfaces[:2]),
    files=(),
    directories=(),
    pings={},
    dns=DnsFacts(),
)


def spoilt(facts: Facts = HEALTHY, **changes: Any) -> Facts:
    """FACTS with other values; `daemon__state="clock"` goes one level down, `__` as often as needed."""
    for path, value in changes.items():
        facts = _replaced(facts, path.split("__"), value)
    return facts


def _replaced(struct: Any, path: list[str], value: Any) -> Any:
    head, *rest = path
    return structs.replace(struct, **{head: _replaced(getattr(struct, head), rest, value) if rest else value})


def stopped(**changes: Any) -> Facts:
    """The same host before `vipnet up`."""
    facts = spoilt(
        daemon=None,
        pings={},
        names__servers=("10.0.0.1",),
        names__keeper="NetworkManager",
        names__looked_up={},
        dns__first_server=None,
        dns__listener=None,
        network__interfaces=HEALTHY.network.interfaces[:2],
        kernel__is_daemons=False,
    )
    return spoilt(facts, **changes)


def with_tun(**changes: Any) -> Config:
    return structs.replace(CONFIG, tun=structs.replace(Tun(), **changes))

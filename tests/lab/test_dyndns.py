"""Hosts with A records at a dyndns2 provider and no TXT at all: the paper's no-ip.com case (section 4)."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path

import pytest
from tests.lab.apps.shells import ssh
from tests.lab.apps.survival import move_and_check, same_sockets
from tests.lab.conftest import LabFactory
from tests.lab.dyndns import HOST, Provider, nsupdate, provider
from tests.lab.labs import Lab, wait_until
from tests.lab.test_dns_trouble import dig
from tests.netns import Namespace
from tests.support import need_program

from vipnet.lab.nat import run_nft

Server = Callable[[Lab, Path], AbstractContextManager[Provider]]
RESOLVER = "10.201.1.53"  # on the router: a resolver with a cache, as a network has one
NAT = "10.201.2.77"  # where a on LAN 1 is seen from LAN 2
_NAMED = """\
options {{
    directory "{directory}";
    listen-on {{ {resolver}; }};
    listen-on-v6 {{ none; }};
    pid-file none;
    lock-file none;
    session-keyfile none;
    recursion yes;
    forward only;
    max-cache-ttl 1;
    forwarders {{ {server}; }};
    dnssec-validation no;
}};
controls {{ }};
"""
_BLOCKED = f"""\
table ip no_port_53 {{
    chain input {{
        type filter hook input priority 0
        iifname != "lo" ip daddr != {RESOLVER} udp dport 53 counter drop
        iifname != "lo" ip daddr != {RESOLVER} tcp dport 53 counter drop
    }}
}}
"""
_TRANSLATED = f"""\
table ip translated {{
    chain into {{
        type filter hook prerouting priority -300
        ip saddr 10.201.2.0/24 ip daddr 10.201.1.10 drop
        ip daddr {NAT} ip daddr set 10.201.1.10
    }}
    chain out {{
        type filter hook postrouting priority 300
        ip saddr 10.201.1.10 ip daddr 10.201.2.0/24 ip saddr set {NAT}
    }}
}}
"""


def configure(lab: Lab, host: str, publish: str, *, more: str) -> None:
    """Give HOST another [publish], MORE tables and RESOLVER; start it with that."""
    lab.on(host, "vipnet", "down", "--unpublish")
    path = Path(lab.host(host)["config"])
    text, count = re.subn(r"\[publish\]\n(?:[^\[\n].*\n)*", f"[publish]\n{publish}", path.read_text())
    assert count == 1
    text = text.replace("[dns]\n", f'[dns]\nupstreams = ["{RESOLVER}"]\n')
    path.write_text(text + more)
    lab.on(host, "vipnet", "up")


def router(lab: Lab) -> str:
    return f"vipnet-{lab.name}-r"


def pinned(lab: Lab, host: str) -> str:
    """HOST as others list it by hand."""
    key = lab.on(host, "vipnet", "key", "show", "--key").stdout.strip()
    return f'\n[[peer]]\nname = "{host}.vipip.net"\nkey = "{key}"\n'


def records(lab: Lab, host: str) -> tuple[str, str]:
    name = f"{host}.vipip.net"
    return dig(lab, name, "A").strip(), dig(lab, f"_vip.{name}", "TXT").strip()


def outcomes(lab: Lab) -> list[str]:
    """How the partners were found after the last move of each host."""
    moves = [lab.ask(host, "moves")["moves"][-1] for host in ("a", "b")]
    return [partner["outcome"] for move in moves for partner in move["partners"]]


def in_dns(lab: Lab, host: str) -> bool:
    return records(lab, host) == (lab.host(host)["address"], "")


@contextmanager
def resolver(lab: Lab, directory: Path) -> Iterator[None]:
    """The network's resolver, on the router."""
    need_program("named")
    Namespace(router(lab)).ip(f"address add {RESOLVER}/32 dev lo\n")
    config = directory / "resolver.conf"
    config.write_text(_NAMED.format(directory=directory, resolver=RESOLVER, server=HOST))
    command = lab.command_on("r", "named", "-f", "-n", "1", "-c", config)
    with (directory / "resolver.log").open("wb") as log:
        named = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        wait_until(lambda: asked(lab, "r", RESOLVER), "the resolver answers")
        yield
    finally:
        named.terminate()
        named.wait(30)


def asked(lab: Lab, host: str, server: str) -> bool:
    """Whether SERVER answers HOST."""
    question = ("dig", "+short", "+tries=1", "+time=1", f"@{server}", "vipip.net", "SOA")
    done = lab.on(host, *question, check=False)
    return done.returncode == 0 and "r.vipip.net" in done.stdout


@pytest.mark.parametrize(
    "server",
    [
        pytest.param(provider, id="a double"),
        pytest.param(nsupdate, id="nsupdate.info's server", marks=pytest.mark.stack),
    ],
)
def test_moves_with_a_records_alone(new_lab: LabFactory, tmp_path: Path, server: Server) -> None:
    """With port 53 open, and with that of the zone's own servers blocked: then the resolver is asked."""
    need_program("dig", "nft")
    lab = new_lab()
    with resolver(lab, tmp_path), server(lab, tmp_path) as service:
        for host, peer in {"a": pinned(lab, "b"), "b": pinned(lab, "a")}.items():
            configure(lab, host, service.settings(host), more=peer)
            assert in_dns(lab, host)
        with ssh(lab, tmp_path) as session:
            with same_sockets((session,)):
                for mover in ("a", "both"):
                    move_and_check(lab, mover, (session,))
                run_nft(router(lab), _BLOCKED)
                assert not asked(lab, "a", HOST)
                assert asked(lab, "a", RESOLVER)
                move_and_check(lab, "b", (session,))
                # Addresses that neither has had before: only DNS can tell.
                move_and_check(lab, "both", (session,), "--kind", "readdress")
                wait_until(lambda: "dns" in outcomes(lab), "one of them has asked DNS")
            session.finish()
        for host in ("a", "b"):
            wait_until(partial(in_dns, lab, host), f"{host} is in DNS where it is")
        lab.on("a", "vipnet", "down")
        lab.on("a", "vipnet", "up")  # finds out by the resolver that it is in DNS
        assert {name for name, _ in service.updates} == {"a.vipip.net", "b.vipip.net"}


@pytest.mark.stack
def test_behind_a_nat_what_partners_see_is_published(new_lab: LabFactory) -> None:
    need_program("dig", "nft")
    lab = new_lab()
    run_nft(router(lab), _TRANSLATED)
    Namespace(router(lab)).ip(f"address add {NAT}/32 dev lo\n")
    path = Path(lab.host("a")["config"])
    lab.on("a", "vipnet", "down")
    path.write_text(
        path.read_text().replace("[publish]\n", '[publish]\naddress = ["observed", "interface"]\n')
    )
    lab.on("a", "vipnet", "up")
    assert records(lab, "a")[0] == "10.201.1.10"  # nobody has seen it yet
    lab.on("a", "ping", "-c", "1", "b.vipip.net")
    wait_until(lambda: records(lab, "a")[0] == NAT, "a is in DNS as b sees it")
    # On b's LAN nobody translates.
    (move,) = lab.move("a")
    wait_until(lambda: records(lab, "a")[0] == move["to"], "a is in DNS as it is")
    assert lab.can_ping("b", "a.vipip.net")
    (move,) = lab.move("a")
    wait_until(lambda: lab.ask("a", "moves")["moves"][-1]["dns_ms"] is not None, "and behind the NAT again")
    assert move["to"] != NAT
    assert records(lab, "a")[0] == NAT

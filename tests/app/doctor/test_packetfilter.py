"""What the model says is what the kernel does: random rules, real datagrams. And what it cannot know."""

from __future__ import annotations

import socket
import subprocess
from collections import Counter
from contextlib import ExitStack, suppress
from ipaddress import IPv4Network, ip_network
from random import Random

import pytest
from tests.netns import namespace
from tests.support import need_program

from vipnet.app.doctor import nft
from vipnet.app.doctor.packetfilter import INWARD, Chain, Fate, Match, Packet, Rule, Step, fate

PORTS = (7000, 7001, 7002, 7003)
SOURCES = tuple(f"127.0.{number}.1" for number in range(4))
SOURCES6 = tuple(f"fd00::{number}:1" for number in range(1, 4))
HERE, HERE6 = "127.0.0.9", "fd00::9"

MATCHES = (  # at most one of each group in a rule: nft refuses what can never be true
    (
        *("ip saddr 127.0.0.0/23", "ip saddr != 127.0.1.1", "ip saddr { 127.0.0.1, 127.0.2.0/24 }"),
        *("ip saddr @some", "ip saddr 127.0.1.0-127.0.2.255", "ip daddr 127.0.0.9", "ip daddr 10.0.0.0/8"),
        "meta nfproto ipv4",
    ),
    (
        *("udp dport 7000", "udp dport { 7001, 7003 }", "udp dport != 7002", "udp dport 7001-7002"),
        *("tcp dport 7000", "udp sport 1-65535", "meta l4proto udp", "meta l4proto tcp", "th dport 7000"),
        "tcp flags syn",
    ),
    ('iifname "lo"', 'iifname "eth*"', 'iifname != "lo"', 'iif "lo"', 'oifname "lo"', 'oifname != "x"'),
    ("ct state new", "ct state established,related", "fib daddr type local"),
)
ALONE = (
    *("ip6 saddr fd00::2:1", "ip6 saddr != fd00::/64", "ip6 daddr fd00::9", "ip6 nexthdr udp"),
    *("ip6 saddr fd00::1:0-fd00::2:ffff", "icmpv6 type echo-request", "meta nfproto { ipv4, ipv6 }"),
    *("meta nfproto ipv6", "ip6 saddr ::1", "icmp type echo-request", "ip protocol tcp", "ip protocol udp"),
)
STEPS = (
    "accept",
    "drop",
    "return",
    "jump one",
    "goto two",
    "counter",
    'log prefix "x" drop',
    "reject",
    "reject with icmpx type admin-prohibited",
    "jump two",
)
WHOLE = (
    "reject with tcp reset",
    "meta nfproto ipv6 reject",
    "udp dport vmap { 7000 : drop, 7001 : accept, 7002 : jump one }",
    "ct state vmap { established : accept, new : continue, invalid : drop }",
    "ip saddr vmap { 127.0.1.1 : drop, 127.0.2.0/24 : goto two }",
)


def random_rules(random: Random, steps: tuple[str, ...]) -> str:
    lines = []
    for _ in range(random.randint(0, 5)):
        if random.random() < 0.2 and steps is STEPS:
            lines.append(random.choice(WHOLE))
        else:
            kinds = (ALONE,) if random.random() < 0.2 else random.sample(MATCHES, random.randint(0, 2))
            lines.append(" ".join([*map(random.choice, kinds), random.choice(steps)]))
    return "".join(f"{line}\n" for line in lines)


def random_ruleset(random: Random) -> str:
    """Two base chains, at different hooks or priorities, and chains to jump to."""
    last = ("accept", "drop", "return", "counter")
    policy = random.choice(("accept", "accept", "drop"))
    first = random.choice(("prerouting", "input"))
    return f"""flush ruleset
    table inet t {{
      set some {{ type ipv4_addr; flags interval; elements = {{ 127.0.3.0/24, 10.0.0.0/8 }} }}
      chain two {{ {random_rules(random, last)} }}
      chain one {{ {random_rules(random, (*last, "jump two", "goto two"))} }}
      chain early {{ type filter hook {first} priority -10; policy accept; {random_rules(random, STEPS)} }}
      chain late {{ type filter hook input priority 10; policy {policy}; {random_rules(random, STEPS)} }}
    }}"""


def heard_by_kernel(
    listeners: dict[tuple[str, int], socket.socket], senders: dict[str, socket.socket]
) -> set[tuple[str, int]]:
    """What arrives of one datagram of each sender to each port; on the loopback it is there at once."""
    for source, sender in senders.items():
        for port in PORTS:
            destination = (HERE6 if ":" in source else HERE, port)
            with suppress(ConnectionRefusedError, PermissionError):  # ICMP of a `reject` for an earlier one
                sender.sendto(b"x", destination)
                continue
            sender.sendto(b"x", destination)
    found = set()
    for (_, port), listener in listeners.items():
        while True:
            try:
                found.add((listener.recvfrom(10)[1][0], port))
            except BlockingIOError:
                break
    return found


@pytest.mark.parametrize("rulesets", [40, pytest.param(2000, marks=pytest.mark.long)])
def test_the_model_and_the_kernel_agree(rulesets: int) -> None:
    need_program("nft")

    def inside() -> None:
        with ExitStack() as stack:
            listeners: dict[tuple[str, int], socket.socket] = {}
            senders: dict[str, socket.socket] = {}
            for here in (HERE, HERE6):
                for port in PORTS:
                    listeners[here, port] = listener = stack.enter_context(udp_socket(here, port))
                    listener.setblocking(False)
            for source in (*SOURCES, *SOURCES6):
                senders[source] = stack.enter_context(udp_socket(source, 6000))
            agree(listeners, senders, rulesets)

    with namespace() as space:
        space.ip("".join(f"addr add {address}/128 dev lo nodad\n" for address in (*SOURCES6, HERE6)))
        space.call(inside)


def udp_socket(host: str, port: int) -> socket.socket:
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind((host, port))
    return sock


def agree(
    listeners: dict[tuple[str, int], socket.socket], senders: dict[str, socket.socket], rulesets: int
) -> None:
    outcomes: Counter[tuple[str, bool]] = Counter()
    for seed in range(rulesets):
        text = random_ruleset(Random(seed))
        subprocess.run(["nft", "-f", "-"], input=text, text=True, check=True, timeout=20)
        shown = subprocess.run(["nft", "-j", "list", "ruleset"], capture_output=True, check=True, timeout=20)
        chains = nft.chains(shown.stdout)
        heard = heard_by_kernel(listeners, senders)
        for source in senders:
            here = ip_network(HERE6 if ":" in source else HERE)
            for port in PORTS:
                found = fate(chains, Packet(ip_network(source), here, "udp", 6000, port, iif="lo"), INWARD)
                expected = "passes" if (source, port) in heard else "dropped"
                assert found.outcome == expected, (seed, source, port, str(found.blame), text)
                assert (found.blame is None) is (expected == "passes")
                outcomes[expected, ":" in source] += 1
    assert len(outcomes) == 4, "a test that sees one answer only sees nothing"
    assert min(outcomes.values()) > rulesets


ANY = Packet(IPv4Network("192.0.2.1"), IPv4Network("192.0.2.2"), "udp", 1, 2, iif="eth0")


def base(*rules: Rule, policy: str = "accept") -> tuple[Chain, ...]:
    return (Chain("inet t", "c", rules, "input", policy=policy),)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("steps", "policy", "outcome"),
    [
        (["?drop"], "accept", "perhaps"),
        (["?accept"], "drop", "perhaps"),
        (["?accept", "drop"], "accept", "perhaps"),
        (["?drop", "accept"], "accept", "perhaps"),
        (["accept", "?drop"], "drop", "passes"),
        (["drop", "?accept"], "accept", "dropped"),
        (["?return", "drop"], "accept", "dropped"),
        (["??"], "accept", "perhaps"),
        (["?jump"], "accept", "passes"),
    ],
)
def test_what_the_model_does_not_know_is_perhaps(steps: list[str], policy: str, outcome: str) -> None:
    rules = [
        Rule((Match("?"),) if step.startswith("?") else (), Step(step.removeprefix("?") or "?"), step)  # type: ignore[arg-type]
        for step in steps
    ]
    found = fate(base(*rules, policy=policy), ANY, INWARD)
    assert found.outcome == outcome
    assert (found.blame is None) is (outcome == "passes")


def test_a_network_that_is_dropped_in_part_is_perhaps_dropped() -> None:
    subnet = IPv4Network("240.0.0.0/4")
    packet = Packet(subnet, subnet, "tcp", 1, 2, iif="tun0")

    def dropping(network: str) -> Fate:
        one = IPv4Network(network)
        span = (int(one.network_address), int(one.broadcast_address))
        return fate(base(Rule((Match("source", (span,)),), Step("drop"), "x")), packet, INWARD)

    assert dropping("224.0.0.0/3").outcome == "dropped"
    assert dropping("250.0.0.0/8").outcome == "perhaps"
    assert dropping("10.0.0.0/8").outcome == "passes"


def test_jumps_in_a_circle_end() -> None:
    around = Chain("inet t", "around", (Rule((), Step("jump", "around"), "jump around"),))
    start = Chain("inet t", "c", (Rule((), Step("jump", "around"), "jump around"),), "input", policy="drop")
    assert fate((around, start), ANY, INWARD).outcome == "dropped"


def test_a_chain_of_another_device_does_not_count() -> None:
    chain = Chain("netdev t", "c", (), "ingress", policy="drop", device="eth1")
    assert fate((chain,), ANY, INWARD).outcome == "passes"
    assert (
        fate((Chain("netdev t", "c", (), "ingress", policy="drop", device="eth0"),), ANY, INWARD).outcome
        == "dropped"
    )


@pytest.mark.parametrize(
    "text", [b"", b"[]", b"{}", b'{"nftables": 3}', b'{"nftables": [{"chain": {}}]}', b"\xff"]
)
def test_what_is_no_ruleset(text: bytes) -> None:
    with pytest.raises(ValueError, match="not a ruleset of nft"):
        nft.chains(text)

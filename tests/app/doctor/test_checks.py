"""Every check's verdicts: one fact spoilt, one verdict changed."""

# ruff: noqa: E501 - the tables are read by the row

from __future__ import annotations

import errno
import json
import os
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs
from tests.app.doctor.healthy import (
    ADDRESS,
    CONFIG,
    DAEMON,
    HEALTHY,
    NAME,
    PARTNER,
    TOKEN,
    WITHOUT_CONFIG,
    spoilt,
    stopped,
    with_tun,
)
from tests.app.doctor.test_iptables import UFW
from tests.schema import hold

from vipnet.app.config import Dns, Transport
from vipnet.app.doctor.examine import judge
from vipnet.app.doctor.facts import (
    ClockSource,
    DnsStatus,
    Facts,
    Ping,
    PublishStatus,
    ServerAnswer,
    TsigAnswer,
)
from vipnet.app.doctor.verdict import Verdict
from vipnet.app.publishconfig import Publish
from vipnet.system.survey.files import DirectoryFacts, FileFacts
from vipnet.system.survey.firewall import Firewalld
from vipnet.system.survey.kernel import OffloadFacts
from vipnet.system.survey.network import Interface
from vipnet.system.survey.ports import Listener

LO, ETH0, TUN0 = HEALTHY.network.interfaces
ETH1 = Interface("eth1", 1500, "10.1.0.5", 1)
DOCKER0 = Interface("docker0", 1500, "172.17.0.1", 0)
DIRECTORIES = HEALTHY.directories
DNS = HEALTHY.dns
LISTENERS = (
    Listener(22, "tcp", "0.0.0.0", "sshd"),
    Listener(80, "tcp", "::", "caddy"),
    Listener(68, "udp", "0.0.0.0", "dhclient"),
    Listener(5847, "udp", "0.0.0.0", "python3"),
    Listener(514, "udp", "0.0.0.0", "rsyslogd"),
    Listener(631, "tcp", "127.0.0.1", "cupsd"),
    Listener(3306, "tcp", "::ffff:127.0.0.1", "mariadbd"),
)


def verdicts(facts: Facts) -> dict[str, Verdict]:
    found = judge(facts).checks
    assert len({verdict.id for verdict in found}) == len(found)
    return {verdict.id: verdict for verdict in found}


def directory(number: int, **changes: Any) -> dict[str, Any]:
    changed = list(DIRECTORIES)
    changed[number] = structs.replace(changed[number], **changes)
    return {"directories": tuple(changed)}


def config(**changes: Any) -> dict[str, Any]:
    return {"config": structs.replace(CONFIG, **changes)}


def publishing(state: str, error: str | None = None) -> dict[str, Any]:
    return {"daemon__publish": PublishStatus("rfc2136", state, ADDRESS, error)}


def says(*addresses: str, server: str = "10.0.0.1:53", **more: Any) -> ServerAnswer:
    return ServerAnswer(server, addresses, **more)


def nft(*rules: list[dict[str, Any]], hook: str = "input", policy: str = "accept") -> dict[str, Any]:
    """A ruleset with one chain."""
    place = {"family": "inet", "table": "t"}
    chain = {"chain": {**place, "name": "c", "type": "filter", "hook": hook, "prio": 0, "policy": policy}}
    listed = [{"rule": {**place, "chain": "c", "handle": 7, "expr": rule}} for rule in rules]
    return {"firewall__nft": json.dumps({"nftables": [chain, *listed]}).encode()}


def match(left: dict[str, Any], right: Any) -> dict[str, Any]:
    return {"match": {"op": "==", "left": left, "right": right}}


def payload(protocol: str, field: str) -> dict[str, Any]:
    return {"payload": {"protocol": protocol, "field": field}}


DROP: dict[str, Any] = {"drop": None}
ACCEPT: dict[str, Any] = {"accept": None}
CLASS_E = {"prefix": {"addr": "240.0.0.0", "len": 4}}
FROM_TOKENS = match(payload("ip", "saddr"), CLASS_E)
TO_TOKENS = match(payload("ip", "daddr"), CLASS_E)
OUR_PORT = match(payload("udp", "dport"), 5847)
UFW_CLOSED = UFW.replace("-A ufw-user-input -m set --match-set friends src -j ACCEPT\n", "")
IP6TABLES = "*filter\n:INPUT DROP [0:0]\n:OUTPUT ACCEPT [0:0]\nCOMMIT\n"
FIREWALLD = Firewalld("public", None, "default", {"public": False})


# What is spoilt -> check, state, words of `found`, words of `fix`.
RUNNING: list[tuple[dict[str, Any], str, str, str, str]] = [
    ({"daemon__state": "starting"}, "daemon", "warn", "not ready", ""),
    ({"daemon__state": "detached"}, "daemon", "fail", "no network", ""),
    ({"daemon__state": "cloned-key"}, "daemon", "fail", "another machine", "vipnet init"),
    ({"daemon": None, "daemon_problem": "the daemon does not answer within 3 s"}, "daemon", "fail", "does not answer", "vipnet down"),
    ({"kernel__release": "5.2.0"}, "kernel", "fail", "Linux 5.2.0", "kernel"),
    ({"kernel__system": "Darwin"}, "kernel", "fail", "Darwin", "kernel"),
    ({"kernel__tun_errno": errno.ENOENT}, "tun-device", "fail", "missing", "modprobe tun"),
    ({"kernel__tun_errno": errno.EPERM}, "tun-device", "fail", "Operation not permitted", "--device /dev/net/tun"),
    ({"kernel__capabilities": 1 << 12}, "capabilities", "fail", "the daemon lacks NET_BIND_SERVICE", "AmbientCapabilities"),
    ({"kernel__capabilities": 0}, "capabilities", "fail", "NET_ADMIN, NET_BIND_SERVICE", "--cap-add NET_ADMIN"),
    ({"daemon__offloads": {"tun": False, "udp_send": True, "udp_receive": True}}, "tun-offloads", "warn", "no virtio headers", "kernel"),
    ({"config": with_tun(offloads=False)}, "tun-offloads", "warn", "[tun] offloads = false", "remove"),
    ({"daemon__offloads": {"tun": True, "udp_send": False, "udp_receive": True}}, "udp-offloads", "warn", "UDP_SEGMENT (Linux 4.18)", "kernel"),
    ({"daemon__offloads": {}, "offloads": OffloadFacts(True, True, False)}, "udp-offloads", "warn", "UDP_GRO (Linux 5.0)", "kernel"),
    (config(transport=Transport(offloads=False)), "udp-offloads", "warn", "[transport] offloads = false", "remove"),
    (directory(0, problem="Read-only file system"), "state", "fail", "Read-only", "remount,rw"),
    (directory(0, problem="No space left on device"), "state", "fail", "No space left", "df "),
    (directory(0, problem="Permission denied"), "state", "fail", "Permission denied", "state_dir"),
    (directory(0, free=1 << 20), "state", "warn", "1 MiB free", "df "),
    (directory(1, problem="Read-only file system"), "run-dir", "fail", "/run/vipnet", "run_dir"),
    ({"files": (FileFacts("/k", "key_file", 0o640, 0),)}, "secrets", "fail", "mode 0640", "chmod 600 /k"),
    ({"files": (FileFacts("/k", "key_file", None, problem="No such file or directory"),)}, "secrets", "fail", "No such file", "vipnet init"),
    ({"files": (FileFacts("/p", "[[peer]] b psk_file", None, problem="No such file or directory"),)}, "secrets", "fail", "psk_file", "mode 0600"),
    ({"underlay": {}}, "address", "fail", "no interface", "ip addr"),
    ({"underlay": {}, **config(transport=Transport(interfaces=("wlan*",)))}, "address", "fail", "wlan*", "[transport] interfaces"),  # type: ignore[arg-type]
    ({"network__default_route": False}, "default-route", "warn", "none", "ip route add default"),
    ({"overlap": "250.0.0.0/8 dev eth0"}, "subnet", "fail", "overlaps 250.0.0.0/8 dev eth0", "[tun] subnet"),
    ({"network__interfaces": (LO, ETH0)}, "interface", "fail", "tun0 is down or gone", "vipnet up"),
    ({"network__interfaces": (LO, structs.replace(ETH0, mtu=1000), TUN0)}, "mtu", "warn", "eth0 carries 1000 bytes", "ip link set eth0 mtu 1280"),
    ({"network__interfaces": (LO, ETH0, structs.replace(TUN0, mtu=1300))}, "mtu", "warn", "tun0 has MTU 1300", "ip link set tun0 mtu 1420"),
    ({"network__interfaces": (LO, ETH0, ETH1, TUN0), "underlay": {ADDRESS: "eth0", "10.1.0.5": "eth1"}}, "rp-filter", "fail", "strict on eth1", "conf.eth1.rp_filter=2"),
    (nft([OUR_PORT, DROP]), "firewall-udp", "fail", 'chain c: "udp dport 5847 drop"', "nft insert rule inet t c handle 7 udp dport 5847 accept"),
    (nft(policy="drop"), "firewall-udp", "fail", "policy of the chain: drop", "nft insert rule inet t c udp dport 5847 accept"),
    ({"firewall__iptables": (UFW_CLOSED,)}, "firewall", "ok", "kept by ufw", ""),
    ({"firewall__iptables": (UFW_CLOSED,)}, "firewall-udp", "fail", "table iptables filter, chain INPUT: the policy", "ufw allow 5847/udp"),
    ({"firewall__iptables": (UFW_CLOSED.replace("--dport 22", "--dport 23").replace("-p icmp", "-p igmp"),)}, "firewall-partners", "warn", "neither ping", "ufw allow in on tun0"),
    ({"firewall__iptables": (UFW_CLOSED.replace("-A ufw-user-input", "-A ufw-user-input -p udp --dport 5847 -j ACCEPT\n-A ufw-user-input", 1),)}, "firewall-udp", "ok", "UDP port 5847 is open", ""),
    ({"firewall__ip6tables": (IP6TABLES,), "underlay": {ADDRESS: "eth0", "2001:db8::5": "eth0"}}, "firewall-udp", "fail", "table ip6tables filter, chain INPUT: the policy", "ip6tables -I INPUT -p udp --dport 5847 -j ACCEPT"),
    ({"firewall__ip6tables": (IP6TABLES,)}, "firewall-udp", "ok", "open", ""),
    ({"firewall__iptables": ("*raw\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING -s 224.0.0.0/3 -j DROP\nCOMMIT\n",)}, "firewall-tokens", "fail", "-s 224.0.0.0/3", "iptables -t raw -I PREROUTING -i tun0 -j ACCEPT"),
    ({**nft(policy="drop"), "firewall__firewalld": FIREWALLD}, "firewall-udp", "fail", "dropped", "firewall-cmd --permanent --add-port=5847/udp"),
    (nft([match({"meta": {"key": "mark"}}, 1), OUR_PORT, DROP]), "firewall-udp", "warn", "perhaps", "udp dport 5847 accept"),
    (nft([match(payload("udp", "sport"), 5847), DROP], hook="output"), "firewall-udp-out", "fail", "on its way out", "udp sport 5847 accept"),
    (nft([match(payload("udp", "dport"), 53), DROP], hook="output"), "firewall-dns", "fail", "questions to 10.0.0.1", "udp dport 53 accept"),
    (nft([FROM_TOKENS, DROP]), "firewall-tokens", "fail", '"ip saddr 240.0.0.0/4 drop"', 'handle 7 iifname "tun0" accept'),
    (nft([match({"ct": {"key": "state"}}, "established"), ACCEPT], [FROM_TOKENS, DROP]), "firewall-tokens", "fail", "from tokens", "accept"),
    (nft([TO_TOKENS, DROP], hook="output"), "firewall-tokens", "fail", "to tokens", 'oifname "tun0" accept'),
    (nft([match({"ct": {"key": "state"}}, "established"), ACCEPT], [OUR_PORT, ACCEPT], policy="drop"), "firewall-partners", "warn", "neither ping", 'iifname "tun0" accept'),
    (
        {**nft(hook="forward", policy="drop"), "network__forwards": True, "network__interfaces": (LO, ETH0, TUN0, DOCKER0)},
        "firewall-forward", "warn", "guests behind docker0", 'oifname "tun0" accept',
    ),
    ({"firewall__nft": None, "firewall__problem": "nft: Operation not permitted"}, "firewall", "warn", "not permitted", ""),
    ({"firewall__nft": b"nonsense"}, "firewall", "warn", "not a ruleset", ""),
    ({"firewall__firewalld": FIREWALLD}, "firewalld", "fail", "zone public does not open UDP port 5847", "--zone=public --add-port=5847/udp"),
    ({"firewall__firewalld": structs.replace(FIREWALLD, port_open={"public": True})}, "firewalld", "warn", "tun0 is in no zone", "--zone=trusted --add-interface=tun0"),
    ({"dns__first_server": says(ADDRESS), "names__servers": ("10.0.0.1",), "names__keeper": "NetworkManager"}, "resolver", "fail", "10.0.0.1, kept by NetworkManager", "dns=none"),
    ({"dns__first_server": says(ADDRESS), "names__servers": ("127.0.0.53",), "names__keeper": "systemd-resolved"}, "resolver", "fail", "127.0.0.53", 'hook = "resolved"'),
    ({"dns__first_server": says(ADDRESS), "names__servers": ("10.0.0.1",), **config(dns=Dns(hook="none"))}, "resolver", "fail", "10.0.0.1", "127.0.0.47:53"),
    ({"dns__first_server": None, "names__servers": ()}, "resolver", "fail", "names no server", "nameserver 127.0.0.47"),
    ({"dns__listener": says(problem="127.0.0.47:53 does not answer over UDP")}, "resolver", "fail", "does not answer over UDP", "lo"),
    ({"daemon__dns": DnsStatus("127.0.0.47:53", "resolved", "names below example.org are not asked of us"), "names__servers": ("127.0.0.53",)}, "resolver", "warn", "names below example.org", "[[peer]]"),
    ({"names__servers": ("127.0.0.47", "10.0.0.1")}, "resolver", "warn", "10.0.0.1 beside vipnet", "only nameserver"),
    ({"names__sources": ("files",)}, "name-sources", "fail", "hosts: files", "hosts: files dns"),
    ({"names__nscd": True}, "name-sources", "warn", "nscd", "nscd -i hosts"),
    ({"names__sources": ("files", "myhostname", "dns"), "names__hostname": NAME}, "name-sources", "warn", "nss-myhostname", "nsswitch.conf"),
    ({"names__hosts": (("127.0.1.1", (NAME, "a")),)}, "own-name", "warn", "/etc/hosts says 127.0.1.1", "sed -i"),
    ({"names__looked_up": {NAME: (ADDRESS,)}, "names__sources": ("myhostname", "dns")}, "own-name", "warn", "nss-myhostname answers first", "nsswitch.conf"),
    ({"names__hosts": (("10.0.0.6", (PARTNER.name,)),)}, "partner-names", "fail", "/etc/hosts says 10.0.0.6", "b\\.example\\.org"),
    ({"names__looked_up": {NAME: (TOKEN,), PARTNER.name: ("10.0.0.6",)}, "names__nscd": True}, "partner-names", "fail", "nscd's cache answers first", "nscd -i hosts"),
    ({"names__looked_up": {NAME: (TOKEN,), PARTNER.name: ("10.0.0.6",)}, "names__sources": ("resolve", "[!UNAVAIL=return]", "dns")}, "partner-names", "fail", "nss-resolve", 'hook = "resolved"'),
    ({"names__looked_up": {NAME: (TOKEN,), PARTNER.name: ()}, "names__sources": ("files", "wins", "dns")}, "partner-names", "fail", "wins in /etc/nsswitch.conf", "hosts: files dns"),
    ({"dns__upstream": says()}, "rebind-filter", "fail", f"hides {ADDRESS}", "rebind-domain-ok=/example.org/"),
    ({"dns__upstream": says(), "dns__software": "dnsmasq-2.90"}, "rebind-filter", "fail", "(dnsmasq-2.90)", "dnsmasq.conf: rebind-domain-ok=/example.org/"),
    ({"dns__upstream": says(), "dns__software": "unbound 1.17.1"}, "rebind-filter", "fail", "unbound", 'unbound.conf, server: private-domain: "example.org"'),
    ({"dns__clocks": (ClockSource("x", 3600.0, True), ClockSource("y", 0.0, True))}, "clock", "fail", "60 minutes ahead of x", "timedatectl"),
    ({"dns__clocks": (ClockSource("x", -90.0, True),)}, "clock", "warn", "90 s behind x", "timedatectl"),
    ({"dns__clocks": (ClockSource("signatures", -86_400.0, False),)}, "clock", "fail", "at least 1,440 minutes behind signatures", "timedatectl"),
    (publishing("clock", "10.0.0.53 says that this host's clock is wrong (BADTIME)"), "clock", "fail", "BADTIME", "timedatectl"),
    ({"dns__upstreams": ()}, "dns-upstream", "fail", "no name server", "[dns] upstreams"),
    ({"dns__upstream": says(problem="10.0.0.1:53 does not answer over UDP")}, "dns-upstream", "fail", "does not answer", "dig @10.0.0.1 . SOA"),
    (publishing("refused", "10.0.0.53 refuses: not in zone"), "publish", "fail", "not in zone", "/etc/vipnet/tsig"),
    (publishing("pending", "no answer from 10.0.0.53"), "publish", "warn", "no answer from 10.0.0.53", "answer"),
    (publishing("waiting", "the next in 50 s"), "publish", "warn", "the next in 50 s", ""),
    (publishing("clock", "BADTIME"), "publish", "fail", "BADTIME", "timedatectl"),
    ({"dns__tsig": TsigAnswer("10.0.0.53:53", "BADKEY")}, "publish", "fail", "knows no key", "/etc/vipnet/tsig"),
    ({"dns__tsig": TsigAnswer("10.0.0.53:53", "BADSIG")}, "publish", "fail", f"the key {NAME} (BADSIG)", "/etc/vipnet/tsig"),
    ({"dns__zone_problem": "no SOA record for a.example.org", "dns__servers": ()}, "in-dns", "fail", "no SOA record", "dig a.example.org SOA"),
    ({"dns__zone_problem": "x", "dns__servers": (), "dns__upstream": None}, "in-dns", "skip", "does not answer", ""),
    ({"dns__servers": (says(problem="no answer"),)}, "in-dns", "fail", "none of the zone's servers answers", "port 53"),
    ({"dns__servers": (says(ADDRESS, has_key=False),)}, "in-dns", "fail", "another key", "--print-record"),
    ({"dns__servers": (says("10.9.9.9"),)}, "in-dns", "fail", "10.0.0.1:53 of 1 servers", "publish"),
    ({"dns__servers": (says("10.9.9.9", server="s:53"), says(ADDRESS))}, "in-dns", "warn", "s:53 of 2 servers", "also-notify"),
    ({"pings": {PARTNER.name: Ping(None, "step path: no answer")}}, "partners", "warn", "no answer from 10.0.0.6:5847, last heard 2 s ago (step path: no answer)", f"vipnet resolve {PARTNER.name}"),
    ({"pings": {PARTNER.name: Ping(None, "step path: no answer")}, "daemon__peers": (structs.replace(PARTNER, heard_s=None),)}, "partners", "warn", "never heard", "vipnet resolve"),
    ({"daemon__counters": {"key_changed": 2}}, "trust", "warn", "another key", "vipnet trust remove"),
    ({"daemon__counters": {"not_accepted": 2}}, "trust", "warn", "[accept] from does not allow", "[accept] from ="),
    ({"listeners": (Listener(2222, "tcp", ADDRESS, "sshd"), *LISTENERS)}, "listeners", "warn", f"sshd (2222) at {ADDRESS}", "0.0.0.0"),
    ({"listeners": (Listener(22, "tcp", f"::ffff:{ADDRESS}"),)}, "listeners", "warn", "22 at", "0.0.0.0"),
]  # fmt: skip

STOPPED: list[tuple[dict[str, Any], str, str, str, str]] = [
    ({}, "daemon", "warn", "none runs", "vipnet up"),
    ({"last_words": "UDP port 5847 is in use"}, "daemon", "warn", "UDP port 5847 is in use", "vipnet up"),
    ({"network__interfaces": (LO, ETH0, TUN0)}, "interface", "fail", "tun0 exists, and no daemon runs", "ip link delete tun0"),
    ({"network__rejected": (IPv4Network("240.0.0.0/4"),)}, "interface", "warn", "unreachable", "vipnet down"),
    ({"listeners": (Listener(5847, "udp", "0.0.0.0", "wg"),)}, "udp-port", "fail", "held by wg", "ss -ulpn"),
    ({"listeners": (Listener(53, "udp", "0.0.0.0", "dnsmasq"),)}, "resolver-port", "fail", "dnsmasq holds port 53", "bind-interfaces"),
    ({"listeners": (Listener(53, "tcp", "127.0.0.47"),)}, "resolver-port", "fail", "another program", "[dns] listen"),
    ({"names__servers": ("127.0.0.47",)}, "resolver", "fail", "names 127.0.0.47, and no daemon runs", "vipnet down"),
    ({"names__servers": ("127.0.0.47",), "dns__upstreams": ()}, "dns-upstream", "skip", "see `resolver`", ""),
    ({"dns__tsig": TsigAnswer("10.0.0.53:53", problem="no answer")}, "publish", "fail", "no answer", "port 53"),
    ({"dns__tsig": TsigAnswer("10.0.0.53:53", "REFUSED")}, "publish", "fail", "REFUSED", "primary"),
]  # fmt: skip


def test_all_is_well() -> None:
    report = judge(HEALTHY)
    assert report.ok
    assert [verdict for verdict in report.checks if verdict.state not in ("ok", "skip")] == []
    assert {verdict.id for verdict in report.checks if verdict.state == "skip"} == {
        "firewall-forward",
        "firewalld",
    }


@pytest.mark.parametrize(("changes", "check", "state", "found", "fix"), RUNNING)
def test_one_fault_of_a_running_host(
    changes: dict[str, Any], check: str, state: str, found: str, fix: str
) -> None:
    judged_as(spoilt(HEALTHY, **changes), check, state, found, fix)


@pytest.mark.parametrize(("changes", "check", "state", "found", "fix"), STOPPED)
def test_one_fault_of_a_stopped_host(
    changes: dict[str, Any], check: str, state: str, found: str, fix: str
) -> None:
    judged_as(stopped(**changes), check, state, found, fix)


def judged_as(facts: Facts, check: str, state: str, found: str, fix: str) -> None:
    report = judge(facts)
    hold(
        json.loads(json.dumps({"ok": report.ok, "checks": [structs.asdict(one) for one in report.checks]})),
        "doctor",
    )
    verdict = verdicts(facts)[check]
    assert verdict.state == state, verdict
    assert found in verdict.found
    assert fix in (verdict.fix or "")
    assert bool(verdict.meaning) is (state in ("warn", "fail"))
    assert report.ok is not any(one.state == "fail" for one in report.checks)
    assert state != "fail" or not report.ok
    for one in report.checks:
        assert one.found.isprintable(), one
        assert (one.meaning or "").isprintable()


def test_before_up_nothing_is_wrong() -> None:
    report = judge(stopped())
    assert report.ok
    assert [verdict.id for verdict in report.checks if verdict.state == "warn"] == ["daemon"]


def test_without_a_configuration_the_machine_is_judged_all_the_same() -> None:
    found = verdicts(WITHOUT_CONFIG)
    assert [one.id for one in found.values() if one.state == "fail"] == ["config"]
    assert found["subnet"].found == "240.0.0.0/4 is free"
    assert "`vipnet init NAME`" in found["config"].found
    assert verdicts(spoilt(WITHOUT_CONFIG, overlap="240.0.0.0/8 dev eth0"))["subnet"].state == "fail"


def test_who_is_not_root_is_told_what_only_root_sees() -> None:
    facts = stopped(
        is_root=False,
        kernel__capabilities=0,
        kernel__tun_errno=errno.EACCES,
        offloads=OffloadFacts(None, True, True),
        files=(FileFacts("/etc/vipnet/key", "key_file", None, problem=os.strerror(errno.EACCES)),),
        directories=(
            DirectoryFacts("/var/lib/vipnet", "state_dir", True, os.strerror(errno.EACCES), 1 << 33),
        ),
        firewall__nft=None,
        firewall__problem="nft: Operation not permitted (you must be root)",
    )
    found = verdicts(facts)
    for check in ("capabilities", "tun-device", "tun-offloads", "secrets", "state", "firewall"):
        assert found[check].state == "skip", found[check]
        assert "sudo vipnet doctor" in (found[check].fix or "")
    assert judge(facts).ok


def test_what_partners_can_reach() -> None:
    found = verdicts(spoilt(HEALTHY, listeners=LISTENERS))["listeners"]
    assert (found.state, found.found) == (
        "ok",
        "partners can reach sshd (22), caddy (80), rsyslogd (514/udp)",
    )
    many = tuple(Listener(port, "tcp", "::") for port in range(1000, 1010))
    assert verdicts(spoilt(HEALTHY, listeners=many))["listeners"].found.endswith("1005 and 4 more")


@pytest.mark.parametrize("other", ["0.0.0.0", TOKEN])
def test_a_server_with_a_socket_for_each_address_is_reached(other: str) -> None:
    """As ntpd and BIND have."""
    both = (Listener(53, "udp", ADDRESS, "named"), Listener(53, "udp", other, "named"))
    assert verdicts(spoilt(HEALTHY, listeners=both))["listeners"].state == "ok"
    assert verdicts(spoilt(HEALTHY, listeners=both[:1]))["listeners"].state == "warn"
    guests = (Listener(53, "udp", "192.168.122.1", "dnsmasq"),)
    assert verdicts(spoilt(HEALTHY, listeners=guests))["listeners"].state == "ok", "a guests' network"


def test_what_is_said_of_a_partner() -> None:
    facts = spoilt(HEALTHY, daemon__peers=(structs.replace(PARTNER, path_mtu=1280),))
    assert verdicts(facts)["partners"].found == "b.example.org: 0.4 ms, packets of 1280 bytes"


def test_behind_a_nat_dns_has_what_others_see() -> None:
    facts = spoilt(HEALTHY, daemon__publish__address="203.0.113.9", dns__servers=(says("203.0.113.9"),))
    assert verdicts(facts)["in-dns"].state == "ok"


def test_public_addresses_are_not_hidden_by_rebind_filters() -> None:
    facts = spoilt(HEALTHY, dns__servers=(says("9.9.9.9"),), dns__upstream=says())
    assert verdicts(facts)["rebind-filter"].state == "skip"


def test_a_strict_filter_on_one_network_does_no_harm() -> None:
    facts = spoilt(HEALTHY, network__interfaces=(LO, structs.replace(ETH0, rp_filter=1), TUN0))
    assert verdicts(facts)["rp-filter"].state == "ok"


def test_nothing_published_is_no_fault() -> None:
    facts = spoilt(
        HEALTHY,
        config=structs.replace(CONFIG, publish=Publish()),
        daemon=structs.replace(DAEMON, publish=PublishStatus("none", "off", None, None)),
        dns=structs.replace(DNS, tsig=None),
    )
    found = verdicts(facts)
    assert (found["publish"].state, found["in-dns"].state) == ("ok", "skip")
    assert "[[peer]] address" in found["publish"].found


def test_the_socket_of_the_tests_is_not_the_users_path() -> None:
    """A configuration elsewhere is judged by its own values."""
    facts = stopped(
        config=structs.replace(CONFIG, dns=Dns(listen=CONFIG.dns.listen), key_file=Path("/x")),
        listeners=(Listener(53, "udp", "127.0.0.53"),),
    )
    assert verdicts(facts)["resolver-port"].state == "ok"

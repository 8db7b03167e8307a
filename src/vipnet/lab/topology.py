"""Two LANs, a router between them, and hosts with a NIC on each: namespaces made by `ip`.

        a            b             d          one namespace a host
      eth0 eth1   eth0 eth1     eth0 eth1     macvlan, one of the two up
       |    |      |    |        |    |
      a1n  a2n    b1n  b2n      d1n  d2n      veth ... all from here on in r's namespace
       |    |      |    |        |    |
      a1   a2     b1   b2       d1   d2       ... and its other end, the bridge's port
    ===|====|======|====|========|====|===
      lan1 (10.201.1.1/24)   lan2 (10.201.2.1/24)   bridges; r routes

Why a macvlan: a veth that goes down takes the bridge's port down with it, and the
port may open again only after the first ARP request, which is repeated 1 s later.

In a lab with `--rtt` or `--loss` both ends of a wire are TAPs, and a program is between.
"""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from typing import Any, Final

from msgspec import Struct

from vipnet.errors import HostError
from vipnet.lab import namespaces
from vipnet.lab.layout import (
    LANS,
    ROUTER,
    Family,
    LabHost,
    Lan,
    Layout,
    prefix_length,
    router_address,
)

_HOST_SYSCTLS: Final = {
    # As DHCP clients do (RFC 5227 section 2.3): neighbours learn at once who came back.
    "ipv4/conf/all/arp_notify": "1",
    "ipv4/conf/all/rp_filter": "0",
    "ipv4/conf/default/rp_filter": "0",
}
_ROUTER_SYSCTLS: Final = {
    "ipv4/ip_forward": "1",
    "ipv4/conf/all/rp_filter": "0",
    "ipv4/conf/default/rp_filter": "0",
    "ipv4/conf/all/send_redirects": "0",
}
_TAP_QUEUE: Final = 16_384  # frames: seconds of traffic, should the forwarder not run for a while
# Duplicate detection (RFC 4862) would keep every new address unused for 1.7 s.
_IPV6_SYSCTLS: Final = {"ipv6/conf/default/accept_dad": "0", "ipv6/conf/default/dad_transmits": "0"}


class Nic(Struct, frozen=True):
    """What one NIC of a host has now; `addresses` are global, in the kernel's order."""

    lan: Lan
    up: bool
    addresses: tuple[str, ...]


# --- make and remove


def build(layout: Layout) -> None:
    """Make namespaces, LANs and NICs, and bring each host up on its LAN. Raise HostError."""
    router = layout.netns(ROUTER)
    names = [router, *(layout.netns(host.label) for host in layout.hosts)]
    run_ip([f"netns add {name}" for name in names])
    namespaces.write_sysctls(router, _ROUTER_SYSCTLS)
    for host in layout.hosts:
        namespaces.write_sysctls(layout.netns(host.label), _HOST_SYSCTLS)
    if layout.spec.ipv6:
        for name in names:
            namespaces.write_sysctls(name, _IPV6_SYSCTLS)
        namespaces.write_sysctls(router, {"ipv6/conf/all/forwarding": "1"})
    run_ip(_router_commands(layout), netns=router)
    for host in layout.hosts:
        join = ["link set dev lo up", *join_commands(host, host.lan, layout.families)]
        run_ip(join, netns=layout.netns(host.label))


def _router_commands(layout: Layout) -> list[str]:
    commands = ["link set dev lo up"]
    for lan in LANS:
        commands.append(f"link add lan{lan} type bridge forward_delay 0 stp_state 0 mcast_snooping 0")
        for family in layout.families:
            address = f"{router_address(lan, family)}/{prefix_length(family)}"
            commands.append(f"address add {address} dev lan{lan}")
        commands.append(f"link set dev lan{lan} up")
    for host in layout.hosts:
        for lan in LANS:
            port = port_name(host, lan)
            wire = wire_name(host, lan)
            if layout.spec.impaired:  # a program is the wire: forwarder
                commands += [f"tuntap add dev {end} mode tap" for end in (port, wire)]
                commands += [f"link set dev {end} txqueuelen {_TAP_QUEUE}" for end in (port, wire)]
            else:
                commands.append(f"link add {port} type veth peer name {wire}")
            commands += [
                f"link set dev {port} master lan{lan} addrgenmode none up",
                # Only a wire: with ARP on, r would answer there too, for its own address.
                f"link set dev {wire} arp off addrgenmode none up",
                f"link add link {wire} name {nic_name(lan)} netns {layout.netns(host.label)} "
                "type macvlan mode private",
            ]
    return commands


def demolish(lab: str) -> None:
    """Remove every namespace of LAB, whole or half built; NICs, addresses and routes go with them."""
    present = lab_namespaces(lab)
    if present:
        run_ip([f"netns delete {name}" for name in present])


def lab_namespaces(lab: str) -> list[str]:
    """A host's label has no '-': `vipnet-x-a` is never taken for a part of lab `x-a`."""
    pattern = re.compile(rf"vipnet-{re.escape(lab)}-[a-z0-9]+")
    with contextlib.suppress(FileNotFoundError):
        return sorted(
            path.name for path in namespaces.NETNS_DIRECTORY.iterdir() if pattern.fullmatch(path.name)
        )
    return []


# --- parts of a host's change of place; moves puts them together


def port_name(host: LabHost, lan: Lan) -> str:
    """The bridge's port, in r's namespace."""
    return f"{host.label}{lan}"


def wire_name(host: LabHost, lan: Lan) -> str:
    """The other end of the wire to the port, which the host's NIC stands on; in r's namespace too."""
    return f"{port_name(host, lan)}n"


def nic_name(lan: Lan) -> str:
    return f"eth{lan - 1}"


def join_commands(
    host: LabHost, lan: Lan, families: Iterable[Family], *, renumbered: bool = False
) -> list[str]:
    """Address first, then link: the kernel announces the address when the link comes up."""
    nic = nic_name(lan)
    commands = []
    for family in families:
        address = host.address(lan, family, renumbered=renumbered)
        commands.append(f"address add {address}/{prefix_length(family)} dev {nic}")
    commands.append(f"link set dev {nic} up")
    return commands + [route_command(lan, family) for family in families]


def route_command(lan: Lan, family: Family) -> str:
    """The default route; with both NICs up LAN 1 is preferred."""
    everything = "0.0.0.0/0" if family == 4 else "::/0"
    gateway = router_address(lan, family)
    return f"route replace {everything} via {gateway} dev {nic_name(lan)} metric {100 * lan}"


def leave_commands(lan: Lan) -> list[str]:
    nic = nic_name(lan)
    return [f"link set dev {nic} down", f"address flush dev {nic} scope global"]


# --- look


def nics(layout: Layout, host: LabHost) -> tuple[Nic, Nic]:
    """What HOST has now, as the kernel says."""
    found = {link["ifname"]: link for link in _ip_json(layout.netns(host.label), "address", "show")}
    first, second = (_nic(lan, found.get(nic_name(lan), {})) for lan in LANS)
    return first, second


def lans_are_up(layout: Layout) -> bool:
    """Whether r's LANs and their ports work already (the kernel is told of a carrier a moment later)."""
    links = _ip_json(layout.netns(ROUTER), "link", "show")
    return all(link["operstate"] == "UP" for link in links if link["ifname"] != "lo")


def port_master(layout: Layout, host: LabHost, lan: Lan) -> str | None:
    """The LAN that HOST's port is in; None while it is a black hole."""
    (port,) = _ip_json(layout.netns(ROUTER), "link", "show", "dev", port_name(host, lan))
    master: str | None = port.get("master")
    return master


def _nic(lan: Lan, link: dict[str, Any]) -> Nic:
    addresses = tuple(entry["local"] for entry in link.get("addr_info", []) if entry.get("scope") == "global")
    return Nic(lan, "UP" in link.get("flags", []), addresses)


def _ip_json(netns: str, *arguments: str) -> list[dict[str, Any]]:
    answer: list[dict[str, Any]] = json.loads(_run(["-n", netns, "-j", *arguments], ""))
    return answer


# --- ip


def run_ip(commands: Iterable[str], *, netns: str | None = None) -> None:
    """Run COMMANDS, in NETNS, by one `ip -batch`; the first that fails ends it. Raise HostError."""
    where = ["-n", netns] if netns else []
    _run([*where, "-batch", "-"], "".join(f"{command}\n" for command in commands))


def need_ip() -> str:
    """Return where `ip` is. Raise HostError."""
    path = shutil.which("ip") or shutil.which("ip", path="/usr/sbin:/sbin")
    if path is None:
        raise HostError("the lab needs the program `ip`: apt install iproute2")
    return path


def _run(arguments: list[str], commands: str) -> str:
    done = subprocess.run(
        [need_ip(), *arguments], input=commands, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise HostError(explain_failure(done.stderr, commands.splitlines()))
    return done.stdout


def explain_failure(stderr: str, commands: Sequence[str]) -> str:
    """Put the command itself where ip says `Command failed -:3`."""
    reason = next((line for line in stderr.splitlines() if line.strip()), "no reason given")
    failed = re.search(r"Command failed -:(\d+)", stderr)
    command = f" `ip {commands[int(failed[1]) - 1]}`" if failed else ""
    mend = (
        ": the lab needs root (CAP_SYS_ADMIN, CAP_NET_ADMIN)"
        if "not permitted" in reason
        else "; see `dmesg`"
    )
    return f"ip failed{command}: {reason}{mend}"

"""Checks of interfaces, routes, MTU and what waits on the ports."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Network
from typing import Final

from vipnet.app.doctor.facts import Facts
from vipnet.app.doctor.verdict import Verdict, fail, ok, skip, warn
from vipnet.policy import DEFAULT_PORT, DEFAULT_SUBNET, MTU_BASE
from vipnet.system.survey.network import Interface
from vipnet.system.survey.ports import Listener

_STRICT: Final = 1
# Ports of clients, and of what speaks by multicast: nobody connects to them.
_NOT_SERVICES: Final = frozenset({68, 546, 5353, 5355})
_EPHEMERAL: Final = 32_768  # ip_local_port_range
_NAMED_MAX: Final = 6


def subnet_of(facts: Facts) -> IPv4Network:
    return IPv4Network(DEFAULT_SUBNET) if facts.config is None else facts.config.tun.subnet


def tun_name(facts: Facts) -> str:
    return "tun0" if facts.config is None else facts.config.tun.interface


def port_of(facts: Facts) -> int:
    return DEFAULT_PORT if facts.config is None else facts.config.transport.port


def outside_interfaces(facts: Facts) -> list[Interface]:
    """Those that lead to other hosts."""
    return [one for one in facts.network.interfaces if one.name in facts.underlay.values()]


def check_address(facts: Facts) -> Verdict:
    if not facts.underlay:
        only = facts.config.transport.interfaces if facts.config else ()
        if only:
            return fail(
                "address",
                f"no address on an interface like {', '.join(only)} ([transport] interfaces)",
                "Partners are told of no other, so nobody can reach this host.",
                "set [transport] interfaces = [] or name the right ones",
            )
        return fail(
            "address",
            "no interface has an address that partners could use",
            "Nobody can be reached, nor can DNS be asked.",
            "ip addr; networkctl or nmcli shows which network should be up",
        )
    return ok("address", ", ".join(facts.underlay))


def check_default_route(facts: Facts) -> Verdict:
    if facts.network.default_route:
        return ok("default-route", "there is one")
    return warn(
        "default-route",
        "there is none",
        "Only hosts on the same networks can be reached; DNS may be out of reach too.",
        "ip route add default via GATEWAY   (or let DHCP set it)",
    )


def check_overlap(facts: Facts) -> Verdict:
    subnet = subnet_of(facts)
    if facts.overlap is None:
        return ok("subnet", f"{subnet} is free")
    return fail(
        "subnet",
        f"{subnet} overlaps {facts.overlap}",
        "Tokens and real hosts would have the same addresses; the daemon does not start.",
        'set [tun] subnet to another network, as "10.77.0.0/16", the same on all your devices',
    )


def check_interface(facts: Facts) -> Verdict:
    """Somebody else's interface in our place, and what a crash has left."""
    name = tun_name(facts)
    found = facts.network.interface(name)
    if facts.daemon is None and facts.daemon_problem is None:
        if found is not None:
            return fail(
                "interface",
                f"{name} exists, and no daemon runs",
                "It is another program's: vipnet does not take it over.",
                f"ip link delete {name}, or set another name as [tun] interface",
            )
        if subnet_of(facts) in facts.network.rejected:
            return warn(
                "interface",
                f"a route says that {subnet_of(facts)} is unreachable",
                "A daemon was killed: packets to tokens must not leave in clear. Connections wait.",
                "vipnet up, or `vipnet down` to clean up",
            )
        return ok("interface", f"{name} is free")
    if found is None:
        return fail(
            "interface",
            f"{name} is down or gone, and the daemon runs",
            "No packet for a token gets through.",
            "vipnet down && vipnet up",
        )
    return ok("interface", f"{name} is up")


def check_mtu(facts: Facts) -> Verdict:
    """What tun0 makes is what is configured, and what leads outside carries as much as IPv6 asks of all."""
    if not facts.config:
        return skip("mtu", "without a configuration there is none")
    mtu = facts.config.tun.first_mtu  # auto: or more
    real = facts.network.interface(tun_name(facts)) if facts.daemon else None
    if real is not None and (real.mtu < mtu or (real.mtu != mtu and facts.config.tun.mtu != "auto")):
        return warn(
            "mtu",
            f"{real.name} has MTU {real.mtu}, [tun] mtu is {facts.config.tun.mtu}",
            "Another program changed it; super-packets may be cut badly.",
            f"ip link set {real.name} mtu {mtu}",
        )
    for interface in outside_interfaces(facts):
        if interface.mtu < MTU_BASE:
            return warn(
                "mtu",
                f"{interface.name} carries {interface.mtu} bytes, less than {MTU_BASE}",
                "Full packets leave in fragments: slower, and lost where a firewall drops fragments.",
                f"ip link set {interface.name} mtu {MTU_BASE}, if the link allows that",
            )
    return ok("mtu", f"{mtu if real is None else real.mtu} inside; narrower paths are found out")


def check_rp_filter(facts: Facts) -> Verdict:
    """RFC 3704: strict reverse path filtering drops what comes in where answers would not go out."""
    strict = [one.name for one in outside_interfaces(facts) if one.rp_filter == _STRICT]
    several = len(outside_interfaces(facts)) > 1
    if not strict or not several:
        return ok("rp-filter", "strict, on one network" if strict else "not strict")
    return fail(
        "rp-filter",
        f"strict on {', '.join(strict)}, and there are several networks",
        "What partners send to the address of the network that is not preferred is dropped.",
        "; ".join(f"sysctl -w net.ipv4.conf.{name}.rp_filter=2" for name in strict),
    )


# --- ports


def check_port(facts: Facts) -> Verdict:
    port = port_of(facts)
    if facts.daemon is not None:
        return ok("udp-port", f"{port} is vipnet's")
    holder = next((one for one in facts.listeners if (one.protocol, one.port) == ("udp", port)), None)
    if holder is None:
        return ok("udp-port", f"{port} is free")
    return fail(
        "udp-port",
        f"{port} is held by {holder.program or 'another program'}",
        "The daemon does not start: it needs the port.",
        f"ss -ulpn 'sport = :{port}' shows by whom; stop it, or set another [transport] port",
    )


def check_resolver_port(facts: Facts) -> Verdict:
    if facts.config is None:
        return skip("resolver-port", "named in the configuration, which is missing")
    listen = facts.config.dns.listen
    if facts.daemon is not None:
        return ok("resolver-port", f"{listen} is vipnet's")
    for one in facts.listeners:
        if one.port == listen.port and (one.host == listen.host or one.host == "0.0.0.0"):  # noqa: S104
            who = one.program or "another program"
            return fail(
                "resolver-port",
                f"{who} holds port {one.port} of {one.host}",
                f"vipnet's resolver cannot be at {listen}; the daemon does not start.",
                "dnsmasq: bind-interfaces and listen-address=127.0.0.1; unbound: interface: 127.0.0.1; "
                "or set another [dns] listen",
            )
    return ok("resolver-port", f"{listen} is free")


def check_listeners(facts: Facts) -> Verdict:
    """A server on one real address is not on the token that partners use, and goes away with a move."""
    real = set(facts.underlay)
    token = facts.daemon.tun.token if facts.daemon else None
    # Some servers open a socket for each address that there is.
    covered = {(one.protocol, one.port) for one in facts.listeners if one.everywhere or str(one.ip) == token}
    bound = [
        one
        for one in facts.listeners
        if str(one.ip) in real
        and (one.protocol, one.port) not in covered
        and _is_service(one, port_of(facts))
    ]
    if bound:
        names = ", ".join(f"{_who(one)} at {one.host}" for one in bound[:_NAMED_MAX])
        return warn(
            "listeners",
            names,
            "They wait at one real address only: partners come to the token, and a move takes it away.",
            "let them listen on 0.0.0.0 (or nothing), and let a firewall decide who may come",
        )
    reached = reachable(facts.listeners, port_of(facts))
    return ok("listeners", f"partners can reach {reached}" if reached else "nothing waits on all addresses")


def reachable(listeners: Sequence[Listener], own_port: int) -> str:
    """What partners can reach now: programs that wait on all addresses; empty when there are none."""
    found = dict.fromkeys(_who(one) for one in listeners if one.everywhere and _is_service(one, own_port))
    names = list(found)
    more = f" and {len(names) - _NAMED_MAX} more" if len(names) > _NAMED_MAX else ""
    return ", ".join(names[:_NAMED_MAX]) + more


def _is_service(one: Listener, own_port: int) -> bool:
    if one.protocol == "tcp":
        return True
    return one.port not in _NOT_SERVICES and one.port != own_port and one.port < _EPHEMERAL


def _who(one: Listener) -> str:
    port = f"{one.port}/udp" if one.protocol == "udp" else f"{one.port}"
    return f"{one.program} ({port})" if one.program else port

"""Checks of the packet filter: whether it lets through what vipnet lives on."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Network, ip_address, ip_network
from typing import Final, Literal

from vipnet.app.doctor import iptables, nft
from vipnet.app.doctor.checks_network import (
    port_of,
    subnet_of,
    tun_name,
)
from vipnet.app.doctor.facts import Facts
from vipnet.app.doctor.packetfilter import (
    INWARD,
    OUTWARD,
    THROUGH,
    Blame,
    Chain,
    Fate,
    Packet,
    Version,
    fate,
)
from vipnet.app.doctor.verdict import Verdict, fail, ok, skip, warn
from vipnet.system.survey.firewall import FirewallFacts

# A partner anywhere: documentation (RFC 5737, RFC 3849).
_SOMEWHERE: Final = {4: "198.51.100.1", 6: "2001:db8:5847::1"}
_SOME_PORT: Final = 40_000
_SSH: Final = 22
_DNS: Final = 53

Protocol = Literal["udp", "tcp", "icmp"]


class Filter:
    """The rules in force, or why they are not known."""

    def __init__(self, facts: FirewallFacts) -> None:
        self.problem = facts.problem
        self.chains: tuple[Chain, ...] = ()
        try:
            self.chains = chains_of(facts)
        except ValueError as error:
            self.problem = str(error)

    @property
    def are_of_ufw(self) -> bool:
        return any(chain.name.startswith("ufw-") for chain in self.chains)


def chains_of(facts: FirewallFacts) -> tuple[Chain, ...]:
    """Of nft and iptables together, each rule once. Raise ValueError."""
    found = list(nft.chains(facts.nft)) if facts.nft is not None else []
    versions: tuple[tuple[Version, tuple[str, ...], str], ...] = (
        (4, facts.iptables, "ip"),
        (6, facts.ip6tables, "ip6"),
    )
    for version, texts, family in versions:
        for text in texts:
            if iptables.is_over_nft(text):
                # Nft shows these too, but not all that they look at.
                told = {f"{family} {table}" for table in iptables.tables_in(text)}
                found = [chain for chain in found if chain.table not in told]
            found += iptables.chains(text, version)
    return tuple(found)


def check_firewall(facts: Facts, rules: Filter) -> Verdict:
    """Whether the other checks of this file know anything."""
    if rules.problem is not None:
        if facts.is_root:
            return warn("firewall", rules.problem, "Whether a firewall is in the way is not known.")
        return skip("firewall", "only root may see its rules", "sudo vipnet doctor")
    if facts.firewall.nft is None and not facts.firewall.iptables:
        return skip("firewall", "neither nft nor iptables is installed")
    count = sum(len(chain.rules) for chain in rules.chains)
    kept = "firewalld" if facts.firewall.firewalld else "ufw" if rules.are_of_ufw else None
    return ok("firewall", f"{count} rules" + (f", kept by {kept}" if kept else ""))


def check_udp_in(facts: Facts, rules: Filter) -> Verdict:
    """A partner that comes first, from anywhere, to our UDP port."""
    port = port_of(facts)
    if not facts.underlay:
        return skip("firewall-udp", "there is no address to reach")
    for own, interface in facts.underlay.items():
        packet = _packet(_somewhere(own), own, dport=port, iif=interface)
        found = fate(rules.chains, packet, INWARD)
        if found.blame is not None:
            return _blocked(
                "firewall-udp",
                found,
                f"UDP to port {port} is dropped",
                "Partners cannot begin: only answers to what this host sends come in.",
                _open_port(facts, rules, found.blame),
            )
    return ok("firewall-udp", f"UDP port {port} is open")


def check_udp_out(facts: Facts, rules: Filter) -> Verdict:
    port = port_of(facts)
    if not facts.underlay:
        return skip("firewall-udp-out", "there is no address to send from")
    for own, interface in facts.underlay.items():
        packet = _packet(own, _somewhere(own), sport=port, dport=port, oif=interface)
        found = fate(rules.chains, packet, OUTWARD)
        if found.blame is not None:
            return _blocked(
                "firewall-udp-out",
                found,
                f"UDP from port {port} is dropped on its way out",
                "No partner can be reached.",
                _insert(found.blame, f"udp sport {port} accept", f"-p udp --sport {port} -j ACCEPT"),
            )
    return ok("firewall-udp-out", f"UDP from port {port} may leave")


def check_dns(facts: Facts, rules: Filter) -> Verdict:
    """Questions to the network's resolvers."""
    servers = [server.rpartition(":")[0].strip("[]") for server in facts.dns.upstreams]
    asked = [
        (own, interface, server)
        for server in servers
        for own, interface in facts.underlay.items()
        if ip_address(own).version == ip_address(server).version and not ip_address(server).is_loopback
    ]
    if not asked:
        return skip("firewall-dns", "no resolver outside is asked")
    own, interface, server = asked[0]
    found = fate(rules.chains, _packet(own, server, dport=_DNS, oif=interface), OUTWARD)
    if found.blame is not None:
        return _blocked(
            "firewall-dns",
            found,
            f"questions to {server} are dropped",
            "No name is found, and no update of DNS leaves.",
            _insert(found.blame, f"udp dport {_DNS} accept", f"-p udp --dport {_DNS} -j ACCEPT"),
        )
    return ok("firewall-dns", "questions to DNS may leave")


def check_tokens(facts: Facts, rules: Filter) -> Verdict:
    """Packets from and to tokens, by tun0: rules for "bogons" drop 240.0.0.0/4 everywhere."""
    subnet, tun = subnet_of(facts), tun_name(facts)
    answer = Packet(subnet, subnet, "tcp", _SSH, _SOME_PORT, iif=tun, state="established")
    first = Packet(subnet, subnet, "tcp", _SOME_PORT, _SSH, iif=tun)
    outward = Packet(subnet, subnet, "tcp", _SOME_PORT, _SSH, oif=tun)
    for packet, hooks, way in ((answer, INWARD, "from"), (first, INWARD, "from"), (outward, OUTWARD, "to")):
        found = fate(rules.chains, packet, hooks)
        # That a port is closed to newcomers is no fault; that an address is, is one.
        if found.blame is not None and (packet is not first or found.blame.is_about_addresses):
            side = "iifname" if way == "from" else "oifname"
            option = "-i" if way == "from" else "-o"
            return _blocked(
                "firewall-tokens",
                found,
                f"packets {way} tokens ({subnet}) are dropped",
                "Partners' names are answered and nothing gets through: connections hang.",
                _insert(found.blame, f'{side} "{tun}" accept', f"{option} {tun} -j ACCEPT"),
            )
    return ok("firewall-tokens", f"packets from and to {subnet} pass")


def check_partners_in(facts: Facts, rules: Filter) -> Verdict:
    """Whether partners can open a connection at all: `default deny` holds for tun0 too."""
    subnet, tun = subnet_of(facts), tun_name(facts)
    tried: tuple[tuple[str, Protocol, int | None], ...] = (("ping", "icmp", None), ("ssh", "tcp", _SSH))
    fates = {
        word: fate(rules.chains, Packet(subnet, subnet, protocol, _SOME_PORT, dport, iif=tun), INWARD)
        for word, protocol, dport in tried
    }
    closed = [word for word, found in fates.items() if found.outcome == "dropped"]
    if not closed:
        return ok("firewall-partners", "partners can connect")
    blame = fates[closed[0]].blame
    assert blame is not None  # noqa: S101 - dropped by something
    if len(closed) < len(tried) or blame.is_about_addresses:
        return ok("firewall-partners", f"partners can connect, but for {closed[0]}")
    return warn(
        "firewall-partners",
        f"partners can neither ping this host nor use ssh: {blame}",
        "This host reaches its partners, they do not reach its services.",
        _trust_tun(facts, rules, blame),
    )


def check_forward(facts: Facts, rules: Filter) -> Verdict:
    """Containers and virtual machines of this host that use its partners."""
    subnet, tun = subnet_of(facts), tun_name(facts)
    guests = [one for one in facts.network.interfaces if one.leads_to_guests and one.address]
    if not facts.network.forwards or not guests:
        return skip("firewall-forward", "this host forwards for no containers or guests")
    for guest in guests:
        assert guest.address is not None  # noqa: S101 - as chosen
        packet = Packet(IPv4Network(guest.address), subnet, "tcp", _SOME_PORT, _SSH, iif=guest.name, oif=tun)
        found = fate(rules.chains, packet, THROUGH)
        if found.outcome == "dropped" and found.blame is not None:
            chain = "DOCKER-USER" if guest.name.startswith(("docker", "br-")) else "FORWARD"
            return warn(
                "firewall-forward",
                f"what guests behind {guest.name} send to tokens is dropped: {found.blame}",
                "Containers and virtual machines here do not reach partners; this host itself does.",
                _insert(found.blame, f'oifname "{tun}" accept', f"-o {tun} -j ACCEPT", chain),
            )
    return ok("firewall-forward", "guests reach tokens")


def check_firewalld(facts: Facts) -> Verdict:
    firewalld, tun, port = facts.firewall.firewalld, tun_name(facts), port_of(facts)
    if firewalld is None:
        return skip("firewalld", "does not run")
    closed = [zone for zone, is_open in firewalld.port_open.items() if not is_open]
    if closed and "ACCEPT" not in firewalld.tun_target:
        zone = closed[0]
        return fail(
            "firewalld",
            f"zone {zone} does not open UDP port {port}",
            "Partners cannot begin: only answers to what this host sends come in.",
            f"firewall-cmd --permanent --zone={zone} --add-port={port}/udp && firewall-cmd --reload",
        )
    if firewalld.tun_zone is None and firewalld.tun_target != "ACCEPT":
        return warn(
            "firewalld",
            f"{tun} is in no zone, so zone {firewalld.default_zone} holds for partners",
            "They reach only what that zone opens.",
            f"firewall-cmd --permanent --zone=trusted --add-interface={tun} && firewall-cmd --reload",
        )
    return ok("firewalld", f"{tun} is in zone {firewalld.tun_zone or firewalld.default_zone}")


def _somewhere(own: str) -> str:
    return _SOMEWHERE[ip_address(own).version]


def _packet(
    source: str,
    destination: str,
    *,
    sport: int = _SOME_PORT,
    dport: int | None = None,
    iif: str | None = None,
    oif: str | None = None,
) -> Packet:
    return Packet(ip_network(source), ip_network(destination), "udp", sport, dport, iif, oif)


def _blocked(check: str, found: Fate, what: str, meaning: str, fix: str) -> Verdict:
    if found.outcome == "perhaps":
        return warn(check, f"perhaps {what}: {found.blame}", meaning, fix)
    return fail(check, f"{what}: {found.blame}", meaning, fix)


def _open_port(facts: Facts, rules: Filter, blame: Blame) -> str:
    port = port_of(facts)
    if facts.firewall.firewalld is not None:
        return f"firewall-cmd --permanent --add-port={port}/udp && firewall-cmd --reload"
    if rules.are_of_ufw:
        return f"ufw allow {port}/udp"
    return _insert(blame, f"udp dport {port} accept", f"-p udp --dport {port} -j ACCEPT")


def _trust_tun(facts: Facts, rules: Filter, blame: Blame) -> str:
    tun = tun_name(facts)
    if facts.firewall.firewalld is not None:
        return f"firewall-cmd --permanent --zone=trusted --add-interface={tun} && firewall-cmd --reload"
    if rules.are_of_ufw:
        return f"ufw allow in on {tun}"
    return _insert(blame, f'iifname "{tun}" accept', f"-i {tun} -j ACCEPT")


def _insert(blame: Blame, nft_rule: str, iptables_rule: str, chain: str | None = None) -> str:
    """The command that puts a rule before what drops the packet."""
    if blame.chain.is_iptables:
        tool, _, table = blame.chain.table.partition(" ")
        option = "" if table == "filter" else f"-t {table} "
        return f"{tool} {option}-I {chain or blame.chain.name} {iptables_rule}"
    handle = "" if blame.rule is None or blame.rule.handle is None else f" handle {blame.rule.handle}"
    return f"nft insert rule {blame.chain.table} {blame.chain.name}{handle} {nft_rule}"


def all_checks(facts: Facts) -> Sequence[Verdict]:
    """In the order in which a packet meets them."""
    rules = Filter(facts.firewall)
    first = check_firewall(facts, rules)
    if first.state != "ok":
        return [first, check_firewalld(facts)]
    return [
        first,
        check_udp_in(facts, rules),
        check_udp_out(facts, rules),
        check_dns(facts, rules),
        check_tokens(facts, rules),
        check_partners_in(facts, rules),
        check_forward(facts, rules),
        check_firewalld(facts),
    ]

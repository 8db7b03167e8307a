"""Checks of names: that this host asks vipnet, and that nothing answers before it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from ipaddress import ip_address
from typing import Final

from vipnet.app.config import Config
from vipnet.app.doctor.facts import DaemonStatus, Facts
from vipnet.app.doctor.verdict import Verdict, fail, ok, skip, warn

_HOSTS: Final = "/etc/hosts"
_LOCAL: Final = ".local"  # RFC 6762: mDNS has it


def check_resolver(facts: Facts) -> Verdict:
    """Who is asked for names: vipnet while it runs, somebody who answers while it does not."""
    config, names = facts.config, facts.names
    if config is None:
        return skip("resolver", "named in the configuration, which is missing")
    listen = config.dns.listen
    if facts.daemon is None:
        if listen.host in names.servers:
            return fail(
                "resolver",
                f"/etc/resolv.conf names {listen.host}, and no daemon runs",
                "No name is found on this host. A daemon was killed.",
                "vipnet up, or `vipnet down` to put the file back",
            )
        servers = ", ".join(names.servers) or "no server"
        return ok("resolver", f"the system asks {servers}; vipnet steps in when it runs")
    return _asked(facts, config, facts.daemon)


def _asked(facts: Facts, config: Config, daemon: DaemonStatus) -> Verdict:
    listen, names, token = config.dns.listen, facts.names, daemon.tun.token
    ours, first = facts.dns.listener, facts.dns.first_server
    if ours is not None and token not in ours.addresses:
        why = ours.problem or f"it answers {', '.join(ours.addresses) or 'nothing'} for {config.name}"
        return fail(
            "resolver",
            f"vipnet's resolver at {listen} does not answer as it should: {why}",
            "Names of vipnet hosts are not found.",
            "vipnet down && vipnet up; if it stays so: is lo up, does a firewall drop packets on lo?",
        )
    if first is None:
        return fail(
            "resolver",
            "/etc/resolv.conf names no server",
            "No name is found on this host.",
            f"echo 'nameserver {listen.host}' >> /etc/resolv.conf",
        )
    if token not in first.addresses:
        keeper = f", kept by {names.keeper}" if names.keeper else ""
        note = f" ({daemon.dns.note})" if daemon.dns.note else ""
        return fail(
            "resolver",
            f"the system asks {names.servers[0]}{keeper}, which does not ask vipnet{note}",
            "Programs get real addresses: connections to partners neither move nor are sealed.",
            _mend_asking(config, names.keeper),
        )
    if names.servers[:1] == (listen.host,) and len(names.servers) > 1:
        return warn(
            "resolver",
            f"/etc/resolv.conf names {', '.join(names.servers[1:])} beside vipnet",
            "When vipnet takes long, programs get real addresses from there.",
            f"leave {listen.host} as the only nameserver in /etc/resolv.conf",
        )
    if daemon.dns.hook == "resolved" and daemon.dns.note:
        return warn(
            "resolver",
            daemon.dns.note,
            "A partner there that this host has not met gets its real address: no moves, no encryption.",
            "list partners there as [[peer]] with their key, or take it away: resolvectl domain LINK ''",
        )
    return ok("resolver", f"the system asks vipnet (by {daemon.dns.hook}, {names.servers[0]})")


def _mend_asking(config: Config, keeper: str | None) -> str:
    if config.dns.hook == "none":
        return 'set [dns] hook = "auto", or let your resolver forward to ' + str(config.dns.listen)
    if keeper == "NetworkManager":
        return (
            "printf '[main]\\ndns=none\\n' > /etc/NetworkManager/conf.d/vipnet.conf && "
            "systemctl reload NetworkManager && vipnet down && vipnet up"
        )
    if keeper == "systemd-resolved":
        return 'set [dns] hook = "resolved"; vipnet down && vipnet up'
    if keeper == "resolvconf":
        return 'set [dns] hook = "resolvconf"; vipnet down && vipnet up'
    return "vipnet down && vipnet up; if it comes back: stop what writes /etc/resolv.conf"


def check_rebind(facts: Facts) -> Verdict:
    """Resolvers that hide private addresses from DNS answers, against DNS rebinding."""
    config, upstream = facts.config, facts.dns.upstream
    if config is None or upstream is None or upstream.problem is not None:
        return skip("rebind-filter", "the network's resolver says nothing of this name")
    true = {address for answer in facts.dns.servers for address in answer.addresses}
    private = {address for address in true if ip_address(address).is_private}
    if not private:
        return skip("rebind-filter", "this host publishes no private address")
    if private & set(upstream.addresses) or set(upstream.addresses) - true:
        return ok("rebind-filter", f"{upstream.server} passes private addresses on")
    zone = config.publish.zone or config.name.partition(".")[2]
    return fail(
        "rebind-filter",
        f"{upstream.server}{_named(facts)} hides {', '.join(sorted(private))} of {config.name}",
        "It drops private addresses, against DNS rebinding: hosts on private networks are not found.",
        _mend_rebind(facts.dns.software or "", zone),
    )


def _named(facts: Facts) -> str:
    return f" ({facts.dns.software})" if facts.dns.software else ""


def _mend_rebind(software: str, zone: str) -> str:
    dnsmasq, unbound = f"rebind-domain-ok=/{zone}/", f'private-domain: "{zone}"'
    if "dnsmasq" in software:
        return f"dnsmasq.conf: {dnsmasq}"
    if "unbound" in software:
        return f"unbound.conf, server: {unbound}"
    router = f"home router: an exception for {zone}; or set [dns] upstreams"
    return f"dnsmasq: {dnsmasq}   unbound: {unbound}   {router}"


def check_own_name(facts: Facts) -> Verdict:
    """What this host's programs make of its own name."""
    if facts.config is None:
        return skip("own-name", "named in the configuration, which is missing")
    name, names = facts.config.name, facts.names
    token = facts.daemon.tun.token if facts.daemon else None
    others = [address for address in names.in_hosts(name) if address != token]
    if others:
        return warn(
            "own-name",
            f"{_HOSTS} says {others[0]} for {name}",
            f"A server here that binds to {name} gets {others[0]}, not the token that partners use.",
            _comment_out(name),
        )
    got = names.looked_up.get(name, ())
    if token is None or got == (token,):
        return ok("own-name", f"{name} is {token}" if token else f"nothing stands before DNS for {name}")
    if not got and facts.dns.first_server is not None and token not in facts.dns.first_server.addresses:
        return skip("own-name", "not asked of vipnet: see `resolver`")
    return _answered_otherwise("own-name", facts, name, got, token, important=False)


def check_partner_names(facts: Facts) -> Verdict:
    """Partners' names have to come from us."""
    if facts.config is None:
        return skip("partner-names", "named in the configuration, which is missing")
    tokens = _tokens(facts)
    for name in dict.fromkeys([*(peer.name for peer in facts.config.peers), *tokens]):
        written = [address for address in facts.names.in_hosts(name) if address != tokens.get(name)]
        if written:
            return fail(
                "partner-names",
                f"{_HOSTS} says {written[0]} for {name}",
                f"Connections to {name} go past vipnet: they neither move nor are sealed.",
                _comment_out(name),
            )
    if facts.dns.first_server is None or facts.daemon is None:
        return ok("partner-names", f"none stands in {_HOSTS}")
    if facts.daemon.tun.token not in facts.dns.first_server.addresses:
        return skip("partner-names", "not asked of vipnet: see `resolver`")
    for name, token in tokens.items():
        got = facts.names.looked_up.get(name)
        if got is not None and got != (token,):
            return _answered_otherwise("partner-names", facts, name, got, token, important=True)
    return ok(
        "partner-names", f"{len(tokens)} names lead to tokens" if tokens else f"none stands in {_HOSTS}"
    )


def _tokens(facts: Facts) -> dict[str, str]:
    return {peer.name: peer.token for peer in facts.daemon.peers if peer.token} if facts.daemon else {}


def _answered_otherwise(
    check: str, facts: Facts, name: str, got: tuple[str, ...], token: str, *, important: bool
) -> Verdict:
    """Vipnet would say TOKEN, programs get something else: by whose doing."""
    culprit, fix = _culprit(facts, name)
    found = f"programs get {', '.join(got) or 'no address'} for {name}, not {token}: {culprit} answers first"
    if important:
        return fail(check, found, "Connections to it go past vipnet: they neither move nor are sealed.", fix)
    return warn(check, found, "A server here that binds to its own name is not where partners come.", fix)


def _culprit(facts: Facts, name: str) -> tuple[str, str]:
    names = facts.names
    before_dns = names.sources[: names.sources.index("dns")] if "dns" in names.sources else names.sources
    for source in before_dns:
        if source == "myhostname" and names.hostname in (name, name.partition(".")[0]):
            return "nss-myhostname", _without("myhostname")
        if source.startswith("mdns") and name.endswith(_LOCAL):
            return "nss-mdns (.local)", "take a name outside of .local"
        if source == "resolve":
            return "nss-resolve (systemd-resolved)", 'set [dns] hook = "resolved"; vipnet down && vipnet up'
    if names.nscd:
        return "nscd's cache", "nscd -i hosts   (and enable-cache hosts no in /etc/nscd.conf)"
    first = next((source for source in before_dns if source != "files"), "another source")
    return f"{first} in /etc/nsswitch.conf", "hosts: files dns   in /etc/nsswitch.conf"


def _without(source: str) -> str:
    """Behind DNS it does no harm: it answers what nobody else does."""
    return f"sed -i -E '/^hosts:/s/ {source}//; /^hosts:/s/$/ {source}/' /etc/nsswitch.conf"


def _comment_out(name: str) -> str:
    escaped = re.escape(name).replace("\\-", "-")
    return f"sed -i -E '/[[:space:]]{escaped}([[:space:]]|$)/s/^/#/' {_HOSTS}"


def check_sources(facts: Facts) -> Verdict:
    """Of nsswitch.conf, what will do harm one day."""
    sources = facts.names.sources
    if not {"dns", "resolve"} & set(sources):
        return fail(
            "name-sources",
            f"/etc/nsswitch.conf has hosts: {' '.join(sources)}",
            "Programs ask no name server at all.",
            "hosts: files dns   in /etc/nsswitch.conf",
        )
    doubts = list(_doubts(facts))
    if doubts:
        return warn("name-sources", *doubts[0])
    return ok("name-sources", f"hosts: {' '.join(sources)}")


def _doubts(facts: Facts) -> Iterator[tuple[str, str, str]]:
    names, name = facts.names, facts.config.name if facts.config else ""
    if names.nscd:
        yield (
            "nscd caches names",
            "A name looked up while vipnet was down keeps its real address for up to an hour.",
            "nscd -i hosts   (and enable-cache hosts no in /etc/nscd.conf)",
        )
    if name.endswith(_LOCAL) and any(source.startswith("mdns") for source in names.sources):
        yield (
            f"{name} ends in .local, and nss-mdns has all of it",
            "Programs ask by multicast, not by DNS.",
            "take a name in a zone of DNS",
        )
    before = names.sources[: names.sources.index("dns")] if "dns" in names.sources else ()
    if name and "myhostname" in before and names.hostname == name:
        yield (
            f"nss-myhostname stands before dns, and the host is called {name}",
            "Programs here get this host's real addresses for its own name, not its token.",
            _without("myhostname"),
        )

"""Checks of the world outside: time, DNS, partners."""

from __future__ import annotations

from typing import Final

from vipnet.app.config import Config
from vipnet.app.doctor.facts import ClockSource, Facts, PeerStatus, Ping, PublishStatus
from vipnet.app.doctor.verdict import Verdict, fail, ok, skip, warn

_CLOCK_FAIL_S: Final = 300.0  # TSIG's fudge (RFC 8945 section 10): beyond it servers refuse
_CLOCK_WARN_S: Final = 30.0
_SET_CLOCK: Final = "timedatectl set-ntp true   (or: chronyc makestep)"
_QUIET_S: Final = 60.0  # the longest lease
_KEY_ERRORS: Final = {
    "BADKEY": "the server knows no key of this name and algorithm",
    "BADSIG": "the secret is another than the server's",
}


def check_clock(facts: Facts) -> Verdict:
    if facts.daemon is not None and facts.daemon.publish.state == "clock":
        return _clock_off(facts.daemon.publish.error or "the DNS provider says so", None)
    clocks = facts.dns.clocks
    if not clocks:
        return skip("clock", "no server told the time")
    worst = max(clocks, key=lambda clock: abs(clock.offset_s))
    if abs(worst.offset_s) > _CLOCK_FAIL_S or (not worst.exact and worst.offset_s):
        return _clock_off(f"{_off(worst)} {worst.name}", worst)
    if abs(worst.offset_s) > _CLOCK_WARN_S:
        return warn(
            "clock",
            f"{_off(worst)} {worst.name}",
            "At more than 5 minutes DNS servers refuse signed updates.",
            _SET_CLOCK,
        )
    return ok("clock", f"as {worst.name} has it")


def _clock_off(found: str, _clock: ClockSource | None) -> Verdict:
    return fail(
        "clock",
        found,
        "DNS servers refuse signed updates, so partners do not find this host after a move.",
        _SET_CLOCK,
    )


def _off(clock: ClockSource) -> str:
    seconds, word = abs(clock.offset_s), "ahead of" if clock.offset_s > 0 else "behind"
    amount = f"{seconds:.0f} s" if seconds < 600 else f"{seconds / 60:,.0f} minutes"
    return f"{amount} {word}" if clock.exact else f"at least {amount} {word}"


def check_upstream(facts: Facts) -> Verdict:
    """Whether the network's own resolvers answer at all."""
    if facts.config is None:
        return skip("dns-upstream", "without a configuration nothing is asked")
    if not facts.dns.upstreams:
        if facts.daemon is None and facts.config.dns.listen.host in facts.names.servers:
            return skip("dns-upstream", "/etc/resolv.conf names nobody else: see `resolver`")
        return fail(
            "dns-upstream",
            "no name server of the network is known",
            "No name of the outside world is found.",
            '[dns] upstreams = ["9.9.9.9"], or let DHCP set /etc/resolv.conf',
        )
    answer = facts.dns.upstream
    servers = ", ".join(facts.dns.upstreams)
    if answer is None or answer.problem is not None:
        return fail(
            "dns-upstream",
            f"{servers}: {answer.problem if answer else 'no answer'}",
            "No name of the outside world is found.",
            f"dig @{_host(facts.dns.upstreams[0])} . SOA   shows it; or set [dns] upstreams to another",
        )
    return ok("dns-upstream", f"{answer.server} answers")


def _host(server: str) -> str:
    return server.rpartition(":")[0].strip("[]")


def check_publishing(facts: Facts) -> Verdict:
    """The provider's own words, and whether the primary likes our key."""
    config = facts.config
    if config is None:
        return skip("publish", "named in the configuration, which is missing")
    tsig = facts.dns.tsig
    if tsig is not None and tsig.error in _KEY_ERRORS:
        name = config.publish.key_name or config.name
        return fail(
            "publish",
            f"{tsig.server} refuses the key {name} ({tsig.error}): {_KEY_ERRORS[tsig.error]}",
            "This host's address does not get into DNS: partners do not find it after a move.",
            f"put the server's secret into {config.publish.key_secret_file}, "
            "or correct [publish] key_name and key_algorithm",
        )
    if facts.daemon is not None:
        return _published(facts.daemon.publish, config)
    if config.publish.provider == "none":
        return ok("publish", "off: partners need this host's address by hand, as [[peer]] address")
    if tsig is not None and (tsig.problem or tsig.error not in (None, "BADTIME")):
        return fail(
            "publish",
            f"{tsig.server}: {tsig.problem or tsig.error}",
            "This host's address does not get into DNS.",
            "is [publish] server the primary, and may UDP and TCP port 53 leave this network?",
        )
    return ok("publish", f"by {config.publish.provider}, when vipnet runs")


def _published(publish: PublishStatus, config: Config) -> Verdict:
    words = publish.error or f"{publish.address or 'no address'} is under way"
    lost = "This host's address does not get into DNS: partners do not find it after a move."
    match publish.state:
        case "off":
            return ok("publish", "off: partners need this host's address by hand, as [[peer]] address")
        case "ok":
            return ok("publish", f"{publish.provider} has {publish.address}")
        case "refused":
            return fail("publish", f"{publish.provider} refuses: {words}", lost, _mend_refused(config))
        case "clock":
            return fail("publish", words, lost, _SET_CLOCK)
        case "waiting":
            return warn("publish", words, "The provider limits how often an address may change.", None)
    return warn(
        "publish",
        f"{publish.provider}: {words}",
        "It is tried again by itself; until then partners that look find the old address.",
        f"is the network there, and does {config.publish.server or 'the provider'} answer?",
    )


def _mend_refused(config: Config) -> str:
    secret = config.publish.key_secret_file or config.publish.secret_file
    where = f", and the secret in {secret}" if secret else ""
    return f"correct [publish] in the configuration{where}; then `vipnet down && vipnet up`"


def check_world_sees(facts: Facts) -> Verdict:
    """Whether the zone's own servers answer with where we are."""
    config = facts.config
    if config is None or config.publish.provider == "none":
        return skip("in-dns", "nothing is published")
    if facts.dns.zone_problem is not None and not facts.dns.servers:
        if facts.dns.upstream is None or facts.dns.upstream.problem is not None:
            return skip("in-dns", "the network's resolver, which knows the zone's servers, does not answer")
        return fail(
            "in-dns",
            facts.dns.zone_problem,
            f"Nobody finds {config.name}.",
            f"dig {config.name} SOA   should name the zone; is the name in a zone that exists?",
        )
    answers = [answer for answer in facts.dns.servers if answer.problem is None]
    if not answers:
        first = facts.dns.servers[0] if facts.dns.servers else None
        return fail(
            "in-dns",
            f"none of the zone's servers answers: {first.problem if first else 'there are none'}",
            f"Nobody finds {config.name}.",
            "may UDP and TCP port 53 leave this network?",
        )
    if any(answer.has_key is False for answer in answers):
        return fail(
            "in-dns",
            f"_vip.{config.name} has another key than this host",
            "Partners refuse this host: it looks like somebody else under its name.",
            "vipnet init --print-record   prints the right line, if you publish it by hand; "
            "else is another machine using this name?",
        )
    own = {*facts.daemon.hosts, facts.daemon.publish.address} if facts.daemon else set(facts.underlay)
    behind = [answer for answer in answers if not own & set(answer.addresses)]
    return _lag(facts, config, [answer.server for answer in behind], len(answers))


def _lag(facts: Facts, config: Config, behind: list[str], asked: int) -> Verdict:
    if facts.daemon is None:
        if not behind:
            return ok("in-dns", "the zone's servers have an address of this host")
        return skip("in-dns", "the zone's servers have another address; vipnet publishes when it runs")
    if not behind:
        return ok("in-dns", f"{asked} of the zone's servers answer with {', '.join(facts.daemon.hosts)}")
    found = f"{', '.join(behind)} of {asked} servers say something else of {config.name}"
    if len(behind) < asked:
        return warn(
            "in-dns",
            found,
            "Secondaries lag: a partner that asks there finds the old address.",
            "let the primary notify its secondaries (BIND: also-notify), or name fewer servers in NS",
        )
    return fail(
        "in-dns",
        found,
        "Partners that look after a move find the old address, or none.",
        "see `publish`; behind a NAT name the router's address as [[peer]] address on the partners",
    )


def check_partners(facts: Facts) -> Verdict:
    """Who answers now, and when the others were heard last."""
    daemon = facts.daemon
    if daemon is None:
        return skip("partners", "without a daemon there is nobody to speak to")
    if not daemon.peers:
        return skip("partners", "there are none yet: use the name of one, as in `ping b.example.org`")
    known = {peer.name: peer for peer in daemon.peers}
    lines = [_line(known[name], ping) for name, ping in facts.pings.items()]
    silent = [name for name, ping in facts.pings.items() if ping.rtt_ms is None]
    found = "; ".join(lines) or f"{len(daemon.peers)} known, none has a token yet"
    if not silent:
        return ok("partners", found)
    fix = f"vipnet resolve {silent[0]}   shows how far it gets; `vipnet doctor` there shows that side"
    if len(silent) == len(facts.pings) and not any(
        peer.heard_s is not None and peer.heard_s < _QUIET_S for peer in daemon.peers
    ):
        return warn(
            "partners",
            found,
            "They may be off; or UDP does not leave this network, or not enter theirs.",
            fix,
        )
    return warn("partners", found, "It may be off, or its network lets no UDP in.", fix)


def _line(peer: PeerStatus, ping: Ping) -> str:
    if ping.rtt_ms is not None:
        path = f", packets of {peer.path_mtu} bytes" if peer.path_mtu else ""
        return f"{peer.name}: {ping.rtt_ms:.1f} ms{path}"
    ago = "never heard" if peer.heard_s is None else f"last heard {peer.heard_s:,.0f} s ago"
    why = f" ({ping.problem})" if ping.problem else ""
    return f"{peer.name}: no answer from {peer.locator or 'anywhere'}, {ago}{why}"


def check_trust(facts: Facts) -> Verdict:
    """What strangers and changed keys were refused."""
    daemon = facts.daemon
    if daemon is None:
        return skip("trust", "without a daemon nobody was refused")
    changed, strangers = daemon.counters.get("key_changed", 0), daemon.counters.get("not_accepted", 0)
    if changed:
        return warn(
            "trust",
            f"{changed} handshakes came under a partner's name with another key than the stored one",
            "It was set up anew, or somebody else uses its name; they are refused. The log names it.",
            "vipnet trust list; if it was set up anew: vipnet trust remove NAME",
        )
    if strangers:
        return warn(
            "trust",
            f"{strangers} handshakes of hosts that [accept] from does not allow",
            "They cannot begin; they are let in once this host has used their name.",
            '[accept] from = ["*.example.org"] with their domain, if they should be',
        )
    return ok("trust", "nobody was refused")

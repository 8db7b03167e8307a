"""What iptables-save prints (iptables(8), iptables-extensions(8)) as chains of the packet filter model."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from ipaddress import ip_network
from typing import Final, Literal

from vipnet.app.doctor.packetfilter import Chain, Hook, Match, Rule, Step, Version

TOOLS: Final[dict[Version, str]] = {4: "iptables", 6: "ip6tables"}
# Built-in chains: their hook, and the priorities of the tables (linux/netfilter_ipv4.h).
_HOOKS: Final[dict[str, Hook]] = {
    "PREROUTING": "prerouting",
    "INPUT": "input",
    "FORWARD": "forward",
    "OUTPUT": "output",
    "POSTROUTING": "postrouting",
}
_PRIORITIES: Final = {"raw": -300, "mangle": -150, "filter": 0, "security": 50}  # nat decides nothing here
_STATES: Final = {"NEW": "new", "ESTABLISHED": "established"}
_TARGETS: Final = {
    "ACCEPT": Step("accept"),
    "DROP": Step("drop"),
    "REJECT": Step("drop"),
    "RETURN": Step("return"),
    "QUEUE": Step("?"),
    "NFQUEUE": Step("?"),
}
_SILENT: Final = frozenset(
    {
        *("LOG", "NFLOG", "MARK", "CONNMARK", "CT", "NOTRACK", "TCPMSS", "DSCP", "TOS", "TTL", "SET"),
        *("CLASSIFY", "CHECKSUM", "TRACE", "AUDIT", "SECMARK", "CONNSECMARK"),
    }
)
_MODULES: Final = frozenset({"tcp", "udp", "comment", "conntrack", "state", "multiport", "addrtype"})
_UNKNOWN: Final = Match("?")


def is_over_nft(text: str) -> bool:
    """Whether these rules live in nftables, so that nft shows them too."""
    return "(nf_tables)" in text[:200]


def tables_in(text: str) -> frozenset[str]:
    return frozenset(re.findall(r"^\*(\S+)", text, re.MULTILINE))


def chains(text: str, version: Version = 4) -> tuple[Chain, ...]:
    """The chains of what iptables-save, or ip6tables-save, printed.

    Raise ValueError when a rule cannot be read at all.
    """
    try:
        return _chains(text, version)
    except (ValueError, IndexError) as error:
        raise ValueError(f"not what iptables-save prints: {error}") from None


def _chains(text: str, version: Version) -> tuple[Chain, ...]:
    found: dict[tuple[str, str], tuple[Literal["accept", "drop"], list[Rule]]] = {}
    table = ""
    for line in text.splitlines():
        if line.startswith("*"):
            table = line[1:].strip()
        elif line.startswith(":"):
            name, policy, *_ = line[1:].split()
            found[table, name] = ("drop" if policy == "DROP" else "accept", [])
        elif line.startswith("-A") and table in _PRIORITIES:
            name, rule = _rule(line)
            found.setdefault((table, name), ("accept", []))[1].append(rule)
    return tuple(
        Chain(
            f"{TOOLS[version]} {table}",
            name,
            tuple(rules),
            _HOOKS.get(name),
            _PRIORITIES[table],
            policy,
            is_iptables=True,
            version=version,
        )
        for (table, name), (policy, rules) in found.items()
        if table in _PRIORITIES
    )


def _rule(line: str) -> tuple[str, Rule]:
    words = shlex.split(line)
    chain = words[1]
    matches: list[Match] = []
    step: Step | None = None
    for option, arguments, negated in _options(words[2:]):
        argument = arguments[0] if arguments else ""
        if option in ("-j", "--jump"):
            step = None if argument in _SILENT else _TARGETS.get(argument) or Step("jump", argument)
        elif option in ("-g", "--goto"):
            step = Step("goto", argument)
        elif option in ("-m", "--match"):
            if argument not in _MODULES:
                matches.append(_UNKNOWN)
        elif option in ("--comment", "--reject-with", "--log-prefix", "--log-level", "-c"):
            continue
        else:
            matches.append(_match(option, argument, negated=negated))
    return chain, Rule(tuple(matches), step, " ".join(words))


def _options(words: list[str]) -> Iterator[tuple[str, list[str], bool]]:
    """Options, their arguments, and whether a `!` stands before."""
    at, negated = 0, False
    while at < len(words):
        if words[at] == "!":
            at, negated = at + 1, True
            continue
        end = at + 1
        while end < len(words) and not words[end].startswith("-") and words[end] != "!":
            end += 1
        yield words[at], words[at + 1 : end], negated
        at, negated = end, False


def _match(option: str, argument: str, *, negated: bool) -> Match:
    match option:
        case "-s" | "--source" | "-d" | "--destination":
            field = "source" if option in ("-s", "--source") else "destination"
            networks = [ip_network(one, strict=False) for one in argument.split(",")]
            ranges = tuple((int(one.network_address), int(one.broadcast_address)) for one in networks)
            return Match(field, ranges, negated)
        case "-i" | "--in-interface" | "-o" | "--out-interface":
            field = "iif" if option in ("-i", "--in-interface") else "oif"
            return Match(field, (re.sub(r"\+$", "*", argument),), negated)
        case "-p" | "--protocol":
            return Match("protocol", (argument,), negated)
        case "--sport" | "--dport" | "--sports" | "--dports" | "--source-port" | "--destination-port":
            field = "sport" if option.startswith("--s") else "dport"
            return Match(field, tuple(_ports(one) for one in argument.split(",")), negated)
        case "--dst-type":
            return Match("local", (), negated) if argument == "LOCAL" else _UNKNOWN
        case "--ctstate" | "--state":
            return Match(
                "state", tuple(_STATES.get(one, one.lower()) for one in argument.split(",")), negated
            )
    return _UNKNOWN


def _ports(text: str) -> tuple[int, int]:
    first, _, last = text.partition(":")
    return int(first or 0), int(last or (65_535 if ":" in text else first))

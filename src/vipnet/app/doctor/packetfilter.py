"""What a packet filter would do with a packet: nftables and iptables in one model.

A rule may look at more than this model knows (marks, limits, sets of other kinds). Such a
rule matches *perhaps*: what it drops may be dropped, what it accepts may pass, and both
are said with that word. Semantics: nft(8): in a base chain `accept` ends that chain only, `drop` is final.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from ipaddress import IPv4Network, IPv6Network
from typing import Final, Literal

from msgspec import Struct

Hook = Literal["ingress", "prerouting", "input", "forward", "output", "postrouting"]
Outcome = Literal["passes", "perhaps", "dropped"]
Network = IPv4Network | IPv6Network
Version = Literal[4, 6]

INWARD: Final[tuple[Hook, ...]] = ("ingress", "prerouting", "input")
OUTWARD: Final[tuple[Hook, ...]] = ("output", "postrouting")
THROUGH: Final[tuple[Hook, ...]] = ("prerouting", "forward", "postrouting")
_DEPTH_MAX: Final = 16  # jumps; the kernel's own bound


class Packet(Struct, frozen=True):
    """A packet, or all packets between two networks.

    iif, oif  interfaces that it comes in and goes out by; None: there is none
    state     of its connection (conntrack)
    """

    source: Network
    destination: Network
    protocol: Literal["udp", "tcp", "icmp"]
    sport: int | None = None
    dport: int | None = None
    iif: str | None = None
    oif: str | None = None
    state: Literal["new", "established"] = "new"

    @property
    def version(self) -> int:
        return self.source.version


class Match(Struct, frozen=True):
    """A condition on one field of a packet.

    field   a field of Packet, "nfproto" (word), "local" (to this host), "way back" (reverse path),
            or "?" for what this model does not know
    values  words, patterns with `*`, or ranges (first, last) of numbers; addresses are numbers
    negated the packet is to have none of them
    version of IP that it is about, None: both; no other packet has such a field
    """

    field: str
    values: tuple[str | tuple[int, int], ...] = ()
    negated: bool = False
    version: Version | None = None

    def holds(self, packet: Packet) -> bool | None:
        """None: perhaps."""
        if self.version is not None and self.version != packet.version:
            return False
        found = self._holds(packet)
        return found if found is None or not self.negated else not found

    def _holds(self, packet: Packet) -> bool | None:
        match self.field:
            case "source" | "destination":
                network = packet.source if self.field == "source" else packet.destination
                first, last = int(network.network_address), int(network.broadcast_address)
                return _within(first, last, self._ranges())
            case "sport" | "dport":
                port = packet.sport if self.field == "sport" else packet.dport
                return None if port is None else _within(port, port, self._ranges())
            case "iif" | "oif":
                name = packet.iif if self.field == "iif" else packet.oif
                # Where there is none, its name is empty, and is not another name (net/netfilter/nft_meta.c).
                return any(fnmatchcase(name or "", word) for word in self._words())
            case "protocol" | "state":
                word = packet.protocol if self.field == "protocol" else packet.state
                return word in self._words()
            case "nfproto":
                return f"ipv{packet.version}" in self._words()
            case "local":
                return packet.oif is None  # to this host
            case "way back":
                return True  # there is a route to the source: the check of rp_filter says otherwise
        return None

    def _ranges(self) -> list[tuple[int, int]]:
        return [value for value in self.values if not isinstance(value, str)]

    def _words(self) -> list[str]:
        return [value for value in self.values if isinstance(value, str)]

    def is_about_addresses(self) -> bool:
        return self.field in ("source", "destination")


class Step(Struct, frozen=True):
    """What becomes of a packet: a verdict, or the chain where it goes on."""

    kind: Literal["accept", "drop", "return", "continue", "jump", "goto", "?"]
    chain: str = ""


class Rule(Struct, frozen=True):
    """Conditions, and a step when all of them hold; None: the rule only counts, logs or marks.

    branches  a verdict map: the first whose condition holds
    text      as people write it
    handle    where others can be put before it, in nft's numbering
    """

    matches: tuple[Match, ...]
    step: Step | None
    text: str
    handle: int | None = None
    branches: tuple[tuple[Match, Step], ...] = ()

    def holds(self, packet: Packet) -> bool | None:
        return _all(match.holds(packet) for match in self.matches)


class Chain(Struct, frozen=True):
    """A chain; a base chain has a hook.

    table    as its tool names it: "inet filter", or "iptables filter"
    version  of IP that comes through it, None: both
    """

    table: str
    name: str
    rules: tuple[Rule, ...]
    hook: Hook | None = None
    priority: int = 0
    policy: Literal["accept", "drop"] = "accept"
    device: str | None = None  # of ingress chains
    is_iptables: bool = False
    version: Version | None = None


class Blame(Struct, frozen=True):
    """Where a packet ends: the rule, or None for the chain's policy."""

    chain: Chain
    rule: Rule | None

    def __str__(self) -> str:
        what = f'"{self.rule.text}"' if self.rule else f"the policy of the chain: {self.chain.policy}"
        return f"table {self.chain.table}, chain {self.chain.name}: {what}"

    @property
    def is_about_addresses(self) -> bool:
        return self.rule is not None and any(match.is_about_addresses() for match in self.rule.matches)


class Fate(Struct, frozen=True):
    """`blame` is what drops the packet, surely or perhaps."""

    outcome: Outcome
    blame: Blame | None = None


def fate(chains: Sequence[Chain], packet: Packet, hooks: Sequence[Hook]) -> Fate:
    """What becomes of PACKET on its way through HOOKS."""
    doubt: Fate | None = None
    for hook in hooks:
        for base in sorted((c for c in chains if c.hook == hook), key=lambda chain: chain.priority):
            if base.device not in (None, packet.iif) or base.version not in (None, packet.version):
                continue
            found = _Walk(chains, packet).through(base)
            if found.outcome == "dropped":
                return found
            if found.outcome == "perhaps" and doubt is None:
                doubt = found
    return doubt or Fate("passes")


class _Walk:
    """One packet in one base chain.

    may_drop    the first rule that perhaps drops it
    may_accept  a rule that perhaps accepts it was passed
    """

    def __init__(self, chains: Sequence[Chain], packet: Packet) -> None:
        self._chains = {(chain.table, chain.name): chain for chain in chains}
        self._packet = packet
        self._may_drop: Blame | None = None
        self._may_accept = False

    def through(self, base: Chain) -> Fate:
        end = self._walk(base, sure=True, depth=0)
        verdict, blame = end if end is not None else (base.policy, Blame(base, None))
        if verdict == "accept":
            return Fate("perhaps", self._may_drop) if self._may_drop else Fate("passes")
        return Fate("perhaps" if self._may_accept else "dropped", blame)

    def _walk(self, chain: Chain, *, sure: bool, depth: int) -> tuple[str, Blame] | None:
        """The verdict that surely ends it here; None: it goes on behind this chain."""
        for rule in chain.rules:
            for step, certain in self._steps(rule):
                end = self._take(chain, rule, step, sure=sure and certain, depth=depth)
                if end is not None:
                    return end
                if step.kind in ("return", "goto") and certain:
                    return None
        return None

    def _steps(self, rule: Rule) -> list[tuple[Step, bool]]:
        """Where the rule may lead, and whether it surely does."""
        held = rule.holds(self._packet)
        if held is False:
            return []
        steps = [] if rule.step is None else [(rule.step, held is True)]
        for condition, step in rule.branches:
            branch = condition.holds(self._packet)
            if branch is not False:
                steps.append((step, held is True and branch is True))
            if branch is True:
                break
        return steps

    def _take(
        self, chain: Chain, rule: Rule, step: Step, *, sure: bool, depth: int
    ) -> tuple[str, Blame] | None:
        if step.kind in ("jump", "goto"):
            target = self._chains.get((chain.table, step.chain))
            if target is None or depth >= _DEPTH_MAX:
                return None
            return self._walk(target, sure=sure, depth=depth + 1)
        if step.kind == "?":
            self._may_accept = True
            self._may_drop = self._may_drop or Blame(chain, rule)
        elif step.kind in ("accept", "drop"):
            if sure:
                return step.kind, Blame(chain, rule)
            if step.kind == "accept":
                self._may_accept = True
            else:
                self._may_drop = self._may_drop or Blame(chain, rule)
        return None


def _within(first: int, last: int, ranges: Iterable[tuple[int, int]]) -> bool | None:
    """Whether all of FIRST..LAST lies in one of RANGES; None: some does."""
    touched = False
    for low, high in ranges:
        if low <= first and last <= high:
            return True
        touched = touched or (low <= last and first <= high)
    return None if touched else False


def _all(conditions: Iterable[bool | None]) -> bool | None:
    perhaps = False
    for condition in conditions:
        if condition is False:
            return False
        perhaps = perhaps or condition is None
    return None if perhaps else True

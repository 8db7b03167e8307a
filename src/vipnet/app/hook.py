"""How the system comes to ask us: by resolved, resolvconf, /etc/resolv.conf itself, or by nobody's doing.

`auto` takes what keeps /etc/resolv.conf. Only resolved can split by suffix: of the others
we get every name, and pass on what is not ours.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from ipaddress import IPv4Network
from typing import Final, Literal

import trio
from msgspec import Struct

from vipnet.app import leftovers
from vipnet.app.config import Config
from vipnet.errors import HostError
from vipnet.names.desired import within
from vipnet.system import resolvconf
from vipnet.system.takeover import RESOLVED_STUBS
from vipnet.types import Fqdn

CHECK_S: Final = 2.0  # DHCP clients write the file a moment after they set an address
RESOLVED_CHECK_S: Final = 10.0  # a network's domains come some time after its addresses
ROUTED_MAX: Final = 256  # names of their own that resolved is given
FIGHT_S: Final = 60.0
FIGHT_MAX: Final = 3  # times that somebody else writes the file within FIGHT_S: then it is theirs

Kind = Literal["resolved", "resolvconf", "file", "none"]

log = logging.getLogger(__name__)


class Hook:
    """The take-over of one run of the daemon.

    kind    how it is done, once `take` has found out
    active  True while the system asks us by our doing
    note    what a person should know, None when all is well

    known   names that must not be answered by anybody else
    """

    def __init__(self, config: Config, known: Callable[[], Iterable[Fqdn]] = tuple) -> None:
        self._config, self._known = config, known
        self._split: _Split | None = None  # what resolved was told last
        self._file = leftovers.resolv_conf(config)
        self._resolvconf = resolvconf.Resolvconf(config.dns.listen.host)
        self.kind: Kind = "none"
        self.active = False
        self.note: str | None = None
        self._rewritten_at: deque[float] = deque(maxlen=FIGHT_MAX)

    def use(self, config: Config) -> None:
        """What is routed to us changes with the next `handle_network`; how, only with a restart."""
        self._config = config

    def upstreams(self) -> tuple[str, ...]:
        """The name servers that the system had, or has by now; never ourselves.

        Those with a scope (fe80::1%eth0, of a router that advertises itself) are left out: a
        locator has none.
        """
        found = (self._resolvconf.upstreams() if self.kind == "resolvconf" else ()) or self._file.upstreams()
        found = tuple(server for server in found if "%" not in server)
        if self.kind == "resolved":  # asked by us, resolved would ask us in turn
            return tuple(server for server in found if server not in RESOLVED_STUBS)
        return found

    async def take(self) -> None:
        """Find out how, and do it. Raise HostError when the machine refuses."""
        self.kind = await self._choose()
        await self._apply()

    async def watch(self) -> None:
        """Look after it for ever."""
        while self.kind == "file":
            await trio.sleep(CHECK_S)
            self._retake()
        while self.kind == "resolved":
            await trio.sleep(RESOLVED_CHECK_S)
            try:
                if self._split != await self._find_split():
                    await self._apply()
            except HostError as error:
                self._tell(str(error))
        await trio.sleep_forever()

    async def handle_network(self) -> None:
        """The network is another: a new resolv.conf is the new original, and an old fight over."""
        self._rewritten_at.clear()
        try:
            if self.kind == "file":
                self._retake()
            elif self.kind != "none":
                await self._apply()
        except HostError as error:
            self._tell(str(error))

    def restore(self) -> None:
        """Put back what was there; idempotent, also after a crash. Raise HostError when refused."""
        self._file.restore()
        self._resolvconf.restore()

    async def _choose(self) -> Kind:
        wanted = self._config.dns.hook
        if wanted != "auto":
            return wanted
        keeper = self._file.keeper
        if keeper == "resolved":
            from vipnet.system import resolved  # D-Bus costs memory that most do not need

            return "resolved" if await resolved.is_running() else "file"
        return "resolvconf" if keeper == "resolvconf" and resolvconf.is_installed() else "file"

    async def _apply(self) -> None:
        if self.kind == "file":
            self._file.take()
        elif self.kind == "resolvconf":
            await self._resolvconf.take()
        elif self.kind == "resolved":
            await self._route()
            return
        self.active, self.note = self.kind != "none", None

    async def _route(self) -> None:
        from vipnet.system import resolved

        split = await self._find_split()
        await resolved.route(self._config.tun.interface, self._config.dns.listen.host, split.ours)
        self.active, self._split, self.note = True, split, None
        if split.theirs:
            domains = ", ".join(split.theirs)
            self.note = (
                f"names below {domains} are not asked of us but for those known already: that network "
                "has them as its domain in systemd-resolved, which prefers the closest (`resolvectl domain`)"
            )

    async def _find_split(self) -> _Split:
        """How resolved is to divide names between us and the networks that have domains of their own."""
        from vipnet.system import resolved

        ours = routed_domains(self._config)
        elsewhere = await resolved.domains(self._config.tun.interface)
        theirs = tuple(
            name for name in elsewhere if any(suffix == "." or within(name, suffix) for suffix in ours)
        )
        names = (self._config.name, *self._known())
        closer = [name for name in names if any(within(name, domain) for domain in theirs)]
        return _Split(tuple(dict.fromkeys([*ours, *closer[:ROUTED_MAX]])), theirs)

    def _retake(self) -> None:
        """Somebody else's file is the new original, unless they insist."""
        try:
            if self._file.taken:
                return
            now = trio.current_time()
            if len(self._rewritten_at) == FIGHT_MAX and now - self._rewritten_at[0] < FIGHT_S:
                self._tell("something keeps writing /etc/resolv.conf, and has it: its name servers are asked")
                return
            self._rewritten_at.append(now)
            self._file.take()
        except HostError as error:
            self._tell(str(error))
            return
        self.active, self.note = (
            True,
            "/etc/resolv.conf was written by something else: we ask its servers now",
        )
        log.info("resolver.taken_again")

    def _tell(self, why: str) -> None:
        if self.note != why:
            log.warning("resolver.not_asked", extra={"error": why})
        self.active, self.note = False, why


class _Split(Struct, frozen=True):
    """Domains that resolved asks us for, and those that it would have asked us for, but for a network."""

    ours: tuple[str, ...]
    theirs: tuple[str, ...]


def routed_domains(config: Config) -> Sequence[str]:
    """What a resolver that can split should send us: ["."], or the suffixes that may have VIP names.

    With them come our own name, the peers listed by hand, and the reverse zones of the tokens.
    """
    dns = config.dns
    if "*" in dns.vip_names or "*" in dns.require:
        return ["."]
    names = [pattern.removeprefix("*.") for pattern in (*dns.vip_names, *dns.require)]
    names += [config.name, *(peer.name for peer in config.peers)]
    return list(dict.fromkeys([*names, *_reverse_zones(config.tun.subnet)]))


def _reverse_zones(subnet: IPv4Network) -> list[str]:
    """The in-addr.arpa zones of whole octets that cover SUBNET: at most 128."""
    prefix = min(-(-subnet.prefixlen // 8) * 8, 24)
    covering = subnet if subnet.prefixlen <= prefix else subnet.supernet(new_prefix=prefix)
    octets = prefix // 8
    return [
        ".".join(reversed(str(network.network_address).split(".")[:octets])) + ".in-addr.arpa"
        for network in covering.subnets(new_prefix=prefix)
    ]

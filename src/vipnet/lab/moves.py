"""What `lab move` does to hosts, and when exactly.

A change is two lists of `ip` commands: what takes the old place away, and what
gives the new one. Each host has one `ip -batch`, started before the event, so that
neither the start of a program nor another process falls into the measured time.
"""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Callable, Sequence
from typing import Final, Literal, Self

import msgspec
from msgspec import Struct, field

from vipnet.errors import ConfigError, HostError
from vipnet.lab.layout import LANS, ROUTER, Family, LabHost, Lan, Layout
from vipnet.lab.nat import rebinding, run_nft
from vipnet.lab.topology import (
    Nic,
    explain_failure,
    join_commands,
    leave_commands,
    need_ip,
    nic_name,
    nics,
    port_master,
    port_name,
    route_command,
)

Kind = Literal["switch", "readdress", "add", "remove", "nat", "blackhole", "family"]

_PING: Final = "link show dev lo"  # ip answers it with one line, once all before is done


class LabMove(Struct, frozen=True):
    """One host's change as it happened; `before` and `after` are addresses, None: there is none.

    event_ns  CLOCK_MONOTONIC right before the first command
    done_ns   ... when the last one had been carried out
    """

    host: str
    before: str | None = field(name="from")
    after: str | None = field(name="to")
    event_ns: int
    done_ns: int


class Change(Struct, frozen=True):
    """What is to be done in `netns` for one host."""

    host: str
    netns: str
    before: str | None
    after: str | None
    leave: tuple[str, ...]
    join: tuple[str, ...]
    nft: str | None = None  # a script for nft instead of commands for ip


# --- what is to be done


def plan_move(
    layout: Layout, label: str, kind: Kind = "switch", lan: Lan | None = None, *, ends: bool = False
) -> Change:
    """Look where the host is, and say what KIND means for it.

    `ends`: a black hole ends with the move. Raise ConfigError when the move is impossible.
    """
    host = layout.host(label)
    plans: dict[Kind, Callable[[Layout, LabHost, Lan | None], Change]] = {
        "switch": _switch,
        "readdress": _readdress,
        "add": _add,
        "remove": _remove,
        "nat": _nat,
        "blackhole": _blackhole,
        "family": _family,
    }
    change = plans[kind](layout, host, lan)
    if kind == "blackhole" and not ends and change.leave:
        return msgspec.structs.replace(change, join=())
    return change


def _switch(layout: Layout, host: LabHost, lan: Lan | None) -> Change:
    """The other NIC instead of this one; a host without any comes back on LAN 1."""
    up = _nics_up(layout, host)
    if len(up) == 2:
        raise ConfigError(f"{host.label} is on both LANs: `--kind remove` takes it off one")
    old = up[0] if up else None
    new = lan or (_other(old.lan) if old else 1)
    if old and old.lan == new:
        raise ConfigError(f"{host.label} is on LAN {new} already: --lan {_other(new)} is another")
    families = _families(old) if old else layout.families
    return Change(
        host.label,
        layout.netns(host.label),
        _first(old),
        host.address(new, families[0]),
        tuple(leave_commands(old.lan)) if old else (),
        tuple(join_commands(host, new, families)),
    )


def _readdress(layout: Layout, host: LabHost, lan: Lan | None) -> Change:
    """Another address on the same LAN, as after a new DHCP lease; the next time back again."""
    nic = _one_nic(layout, host, lan, "readdress")
    families = _families(nic)
    renumbered = nic.addresses[0] == host.address(nic.lan, families[0])
    return Change(
        host.label,
        layout.netns(host.label),
        _first(nic),
        host.address(nic.lan, families[0], renumbered=renumbered),
        (f"address flush dev {nic_name(nic.lan)} scope global",),
        tuple(join_commands(host, nic.lan, families, renumbered=renumbered)),
    )


def _add(layout: Layout, host: LabHost, lan: Lan | None) -> Change:
    """The other NIC too."""
    up = _nics_up(layout, host)
    free = [one for one in LANS if one not in {nic.lan for nic in up}]
    if not free or lan not in (None, *free):
        raise ConfigError(f"{host.label} is on LAN {lan or '1 and 2'} already: `vipnet lab status` shows it")
    new = lan or free[0]
    families = _families(up[0]) if up else layout.families
    return Change(
        host.label,
        layout.netns(host.label),
        None,
        host.address(new, families[0]),
        (),
        tuple(join_commands(host, new, families)),
    )


def _remove(layout: Layout, host: LabHost, lan: Lan | None) -> Change:
    """One NIC less; of two the preferred one."""
    nic = _one_nic(layout, host, lan, "remove")
    commands = tuple(leave_commands(nic.lan))
    return Change(host.label, layout.netns(host.label), _first(nic), None, commands, ())


def _nat(layout: Layout, host: LabHost, lan: Lan | None) -> Change:
    """Another source port for the host's datagrams, as when a NAT forgets; no event tells."""
    address = _first(_one_nic(layout, host, lan, "nat"))
    return Change(host.label, layout.netns(host.label), address, address, (), (), rebinding())


def _blackhole(layout: Layout, host: LabHost, lan: Lan | None) -> Change:
    """The LAN swallows what the host sends, and no event tells; the next time it is whole again."""
    nic = _one_nic(layout, host, lan, "blackhole")
    port = port_name(host, nic.lan)
    cut, mend = f"link set dev {port} nomaster", f"link set dev {port} master lan{nic.lan}"
    router, address = layout.netns(ROUTER), _first(nic)
    if port_master(layout, host, nic.lan) is None:
        return Change(host.label, router, None, address, (), (mend,))
    return Change(host.label, router, address, None, (cut,), (mend,))


def _family(layout: Layout, host: LabHost, lan: Lan | None) -> Change:
    """From IPv4 to IPv6 only, and back to IPv4 only."""
    if not layout.spec.ipv6:
        raise ConfigError(f"lab {layout.name} has no IPv6: make it by `lab up --ipv6`")
    nic = _one_nic(layout, host, lan, "family")
    old: Family = _families(nic)[0]
    new: Family = 6 if old == 4 else 4
    device, address = nic_name(nic.lan), host.address(nic.lan, new)
    join = () if address in nic.addresses else tuple(join_commands(host, nic.lan, (new,)))
    gone = [one for one in nic.addresses if (":" in one) == (old == 6)]
    prefix = 24 if old == 4 else 64
    leave = [f"address delete {one}/{prefix} dev {device}" for one in gone]
    if old == 6:  # IPv4's goes with the last address
        leave.insert(0, route_command(nic.lan, 6).replace("replace", "delete"))
    return Change(host.label, layout.netns(host.label), _first(nic), address, tuple(leave), join)


def _nics_up(layout: Layout, host: LabHost) -> list[Nic]:
    return [nic for nic in nics(layout, host) if nic.up and nic.addresses]


def _one_nic(layout: Layout, host: LabHost, lan: Lan | None, kind: Kind) -> Nic:
    for nic in _nics_up(layout, host):
        if lan in (None, nic.lan):
            return nic
    where = f"on LAN {lan}" if lan else "on any LAN"
    raise ConfigError(f"{host.label} is not {where}: nothing to {kind}; `vipnet lab status` shows it")


def _other(lan: Lan) -> Lan:
    return 2 if lan == 1 else 1


def _first(nic: Nic | None) -> str | None:
    return nic.addresses[0] if nic else None


def _families(nic: Nic) -> tuple[Family, ...]:
    found: list[Family] = []
    if any(":" not in address for address in nic.addresses):
        found.append(4)
    if any(":" in address for address in nic.addresses):
        found.append(6)
    return tuple(found)


# --- doing it


def carry_out(changes: Sequence[Change], down_ms: float | None = None) -> list[LabMove]:
    """Do CHANGES at once: none joins before all have left, nor before DOWN_MS have passed.

    Raise HostError.
    """
    if any(change.nft for change in changes):
        return [_rebind(change) for change in changes]
    with contextlib.ExitStack() as stack:
        batches = [stack.enter_context(_Batch(change.netns)) for change in changes]
        events = []
        if len(changes) == 1 and down_ms is None:
            events.append(time.monotonic_ns())
            batches[0].run((*changes[0].leave, *changes[0].join))
        else:
            for batch, change in zip(batches, changes, strict=True):
                events.append(time.monotonic_ns())
                batch.start(change.leave)
            for batch in batches:
                batch.wait()
            time.sleep((down_ms or 0) / 1000)
            for batch, change in zip(batches, changes, strict=True):
                batch.start(change.join)
            for batch in batches:
                batch.wait()
        return [
            LabMove(change.host, change.before, change.after, event_ns, batch.done_ns)
            for change, event_ns, batch in zip(changes, events, batches, strict=True)
        ]


def _rebind(change: Change) -> LabMove:
    event_ns = time.monotonic_ns()
    run_nft(change.netns, change.nft or "")
    return LabMove(change.host, change.before, change.after, event_ns, time.monotonic_ns())


class _Batch:
    """One `ip -batch -` that is fed as it goes; ready to work when it is made."""

    def __init__(self, netns: str) -> None:
        self._commands: list[str] = []
        self.done_ns = 0
        self._process = subprocess.Popen(
            [need_ip(), "-o", "-n", netns, "-batch", "-"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.run(())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(BrokenPipeError):  # it failed: wait() has said so
            self._process.communicate()

    def run(self, commands: Sequence[str]) -> None:
        self.start(commands)
        self.wait()

    def start(self, commands: Sequence[str]) -> None:
        """Begin COMMANDS; in one write, so that ip need not wait for us between two of them."""
        self._commands += [*commands, _PING]
        stdin = self._process.stdin
        assert stdin is not None  # noqa: S101 - a pipe, by construction
        stdin.write("".join(f"{command}\n" for command in (*commands, _PING)))
        with contextlib.suppress(BrokenPipeError):
            stdin.flush()

    def wait(self) -> None:
        """Return when all that was started is done. Raise HostError at a command that failed."""
        stdout = self._process.stdout
        assert stdout is not None  # noqa: S101 - as above
        answer = stdout.readline()
        self.done_ns = time.monotonic_ns()
        if not answer:
            _, stderr = self._process.communicate()
            raise HostError(explain_failure(stderr, self._commands))

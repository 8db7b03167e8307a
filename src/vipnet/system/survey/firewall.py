"""What the packet filters say, as their own programs print it; reading them takes root."""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path
from typing import Final, Literal

import trio
from msgspec import Struct

_WAIT_S: Final = 10.0
_SBIN: Final = "/usr/sbin:/sbin"  # not on every user's PATH
_TEXT_MAX: Final = 1 << 24  # bytes; a longer ruleset is not judged


class Firewalld(Struct, frozen=True):
    """Firewalld, which runs.

    tun_zone   the zone that tun0 was given; None: none, so the default one holds
    tun_target what becomes of packets that its zone says nothing of
    port_open  whether the UDP port is open in the zone of each interface, by zone
    """

    default_zone: str
    tun_zone: str | None
    tun_target: str
    port_open: dict[str, bool]


class FirewallFacts(Struct, frozen=True):
    """The rules that are in force.

    nft       the ruleset as JSON; None: could not be read
    iptables  what iptables-save prints, one text for each kind of it
    ip6tables the same for IPv6
    problem   why something could not be read
    """

    nft: bytes | None
    iptables: tuple[str, ...]
    firewalld: Firewalld | None
    problem: str | None = None
    ip6tables: tuple[str, ...] = ()


async def firewall(tun: str, port: int, interfaces: tuple[str, ...]) -> FirewallFacts:
    """Ask nft, iptables and firewalld, as far as they are there."""
    nft, problem = await _output("nft", "-j", "list", "ruleset")
    firewalld = await _firewalld(tun, port, interfaces)
    return FirewallFacts(nft, await _saved("ip"), firewalld, problem, await _saved("ip6"))


async def _saved(kind: Literal["ip", "ip6"]) -> tuple[str, ...]:
    """The rules of both variants of iptables, each once."""
    found: list[str] = []
    for program in (f"{kind}tables-save", f"{kind}tables-legacy-save"):
        if "legacy" in program and not _has_legacy_tables(kind):
            continue  # asking would load the modules
        output, _ = await _output(program)
        text = None if output is None else output.decode(errors="replace")
        if text is not None and text not in found:
            found.append(text)
    return tuple(found)


async def _firewalld(tun: str, port: int, interfaces: tuple[str, ...]) -> Firewalld | None:
    state, _ = await _output("firewall-cmd", "--state")
    default = await _word("--get-default-zone") if state else None
    if default is None:
        return None
    tun_zone = await _word(f"--get-zone-of-interface={tun}")
    target = await _word(f"--zone={tun_zone or default}", "--get-target", "--permanent")
    zones = {await _word(f"--get-zone-of-interface={name}") or default for name in interfaces}
    opened = {zone: await _word(f"--zone={zone}", f"--query-port={port}/udp") == "yes" for zone in zones}
    return Firewalld(default, tun_zone, target or "default", opened)


async def _word(*arguments: str) -> str | None:
    output, _ = await _output("firewall-cmd", *arguments)
    return output.decode(errors="replace").strip() or None if output is not None else None


async def _output(program: str, *arguments: str) -> tuple[bytes | None, str | None]:
    """What the program prints, or why it does not; (None, None) where it is not installed."""
    path = shutil.which(program) or shutil.which(program, path=_SBIN)
    if path is None:
        return None, None
    run = partial(trio.run_process, capture_stdout=True, capture_stderr=True, check=False)
    with trio.move_on_after(_WAIT_S):
        try:
            done = await run([path, *arguments])
        except OSError as error:
            return None, f"{program}: {error.strerror}"
        if done.returncode or len(done.stdout) > _TEXT_MAX:
            words = done.stderr.decode(errors="replace").strip().splitlines()
            return None, f"{program}: {words[0] if words else f'exit status {done.returncode}'}"
        return done.stdout, None
    return None, f"{program}: no end after {_WAIT_S:g} s"


def _has_legacy_tables(kind: Literal["ip", "ip6"]) -> bool:
    try:
        return bool(Path(f"/proc/net/{kind}_tables_names").read_text().strip())
    except OSError:
        return False

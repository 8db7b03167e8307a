"""What else has interfaces and routes on these hosts: somebody's VPN, somebody's containers."""

from __future__ import annotations

import secrets
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from ipaddress import IPv4Address
from pathlib import Path
from typing import Final

import pytest
from msgspec import Struct
from tests.lab.apps.shells import ssh
from tests.lab.apps.survival import check_they_go_on, goals_of, same_sockets
from tests.lab.conftest import LabFactory
from tests.lab.labs import Lab
from tests.lab.sniffer import LANS, VIPNET_PORT, Capture, sniffing
from tests.lab.streams import check_nothing_lost, streams
from tests.support import need_program

_MOVERS: Final = ("a", "b", "both", "both")
_WG_PORT: Final = 51_900
_INSIDE: Final = "10.99.0"
_DOCKER: Final = "172.17.0.1"
Figure = Callable[[str], None]


def locators(lab: Lab, host: str) -> set[str]:
    """Where everyone else has been told, or found, that HOST is; and where it says so itself."""
    others = [other for other in ("a", "b") if other != host]
    found = {peer["locator"] for other in others for peer in lab.ask(other, "peers")["peers"]}
    found |= set(lab.ask(host, "status")["locators"])
    for move in lab.ask(host, "moves")["moves"]:
        found |= {*move["old"], *move["new"]}
    return {locator.rpartition(":")[0] for locator in found}


def move_about(lab: Lab, directory: Path, figure: Figure) -> None:
    """Both hosts move, alone and together: UDP loses nothing, an SSH session does not notice."""
    both_ways = {"a": ["b"], "b": ["a"]}
    with ssh(lab, directory) as session, streams(lab, directory, both_ways) as running:
        with same_sockets((session,)):
            for mover in _MOVERS:
                lab.move(mover)
                goals = goals_of((session,))
                running.go_on(f"after a move of {mover}")
                check_they_go_on(goals, f"after a move of {mover}")
        figure(check_nothing_lost(running.finish()))
        session.finish()


def datagrams(capture: Capture) -> set[tuple[str, str]]:
    """Source and destination of everything between daemons."""
    found = {(str(p.source), str(p.destination)) for p in capture.packets if VIPNET_PORT in p.ports}
    assert found, "nothing was captured"
    return found


# --- a full tunnel


class Tunnel(Struct, frozen=True):
    """What wg-quick made on one host."""

    interface: str
    config: Path


@contextmanager
def full_tunnel(lab: Lab, directory: Path, clients: tuple[str, ...]) -> Iterator[list[Tunnel]]:
    """WireGuard on CLIENTS, everything into it, to a server on r; by wg-quick, as people do.

    In user space: no kernel module is needed.
    """
    need_program("wg", "wg-quick", "wireguard-go", "nft")
    keys = {host: _key_pair() for host in ("r", *clients)}
    mark = secrets.token_hex(3)  # the sockets of all namespaces are in one directory
    peers = [f"[Peer]\nPublicKey = {keys[host][1]}\nAllowedIPs = {_inside(host)}/32\n" for host in clients]
    server = f"Address = {_INSIDE}.1/24\nListenPort = {_WG_PORT}\n"
    texts = {"r": _interface(keys["r"][0], server) + "".join(peers)}
    for host in clients:
        text = _interface(keys[host][0], f"Address = {_inside(host)}/32\n")
        text += f"[Peer]\nPublicKey = {keys['r'][1]}\nAllowedIPs = 0.0.0.0/0\n"
        texts[host] = text + f"Endpoint = 10.201.1.1:{_WG_PORT}\nPersistentKeepalive = 1\n"
    with ExitStack() as stack:
        tunnels = []
        for host, text in texts.items():
            tunnel = Tunnel(f"wg{mark}{host}", directory / f"wg{mark}{host}.conf")
            tunnel.config.touch(mode=0o600)
            tunnel.config.write_text(text)
            stack.callback(_wg_quick, lab, host, "down", tunnel, check=False)
            _wg_quick(lab, host, "up", tunnel)
            tunnels.append(tunnel)
        yield tunnels[1:]


def _interface(private: str, more: str) -> str:
    return f"[Interface]\nPrivateKey = {private}\n{more}"


def _key_pair() -> tuple[str, str]:
    private = subprocess.run(["wg", "genkey"], capture_output=True, text=True, check=True).stdout
    public = subprocess.run(["wg", "pubkey"], input=private, capture_output=True, text=True, check=True)
    return private.strip(), public.stdout.strip()


def _inside(host: str) -> str:
    return f"{_INSIDE}.{ord(host)}"


def _wg_quick(lab: Lab, host: str, verb: str, tunnel: Tunnel, *, check: bool = True) -> None:
    command: list[str | Path] = [
        "env",
        "WG_QUICK_USERSPACE_IMPLEMENTATION=wireguard-go",
        "wg-quick",
        verb,
        tunnel.config,
    ]
    lab.on(host, *command, check=check)


@pytest.mark.stack
@pytest.mark.parametrize("clients", [("a",), ("a", "b")], ids=["one-end", "both-ends"])
def test_moves_beside_a_full_tunnel(
    new_lab: LabFactory, tmp_path: Path, figure: Figure, clients: tuple[str, ...]
) -> None:
    """All goes into the tunnel, but not what vipnet sends: it has its own, and knows where it is."""
    lab = new_lab()
    with full_tunnel(lab, tmp_path, clients) as tunnels:
        for client in clients:
            assert lab.on(client, "ping", "-c", "1", "-W", "5", f"{_INSIDE}.1").returncode == 0
            # The trap is set: the kernel by itself would send to the other LAN through the tunnel.
            route = lab.on(client, "ip", "route", "get", "10.201.2.99" if client == "a" else "10.201.1.99")
            assert f"dev {tunnels[clients.index(client)].interface}" in route.stdout
        inside = [(client, tunnel.interface) for client, tunnel in zip(clients, tunnels, strict=True)]
        with sniffing(lab, tmp_path, *LANS, *inside) as capture:
            move_about(lab, tmp_path, figure)
        names = {tunnel.interface for tunnel in tunnels}
        assert [p for p in capture.packets if p.interface in names], "the tunnel is in use"
        assert not [p for p in capture.packets if p.interface in names and VIPNET_PORT in p.ports]
        ends = {end for pair in datagrams(capture) for end in pair}
        assert not {end for end in ends if end.startswith(_INSIDE)}, "vipnet went through the tunnel"
        for host in ("a", "b"):
            assert all(locator.startswith("10.201.") for locator in locators(lab, host)), host


# --- containers


def docker_like_bridge(lab: Lab, host: str) -> None:
    """What Docker leaves on everybody's machine: the same network, with a container in it."""
    lab.on(host, "ip", "link", "add", "docker0", "type", "bridge")
    lab.on(host, "ip", "link", "add", "veth0", "type", "veth", "peer", "name", "inside0")
    lab.on(host, "ip", "link", "set", "veth0", "master", "docker0")
    lab.on(host, "ip", "address", "add", f"{_DOCKER}/16", "dev", "docker0")
    for link in ("docker0", "veth0", "inside0"):
        lab.on(host, "ip", "link", "set", link, "up")
    assert "LOWER_UP" in lab.on(host, "ip", "link", "show", "docker0").stdout, "it has carrier"


def test_moves_beside_containers(new_lab: LabFactory, tmp_path: Path, figure: Figure) -> None:
    """172.17.0.1 is everybody's: nobody is asked whether a partner is there."""
    lab = new_lab()
    for host in ("a", "b"):
        docker_like_bridge(lab, host)
    with sniffing(lab, tmp_path, *LANS, ("a", "docker0"), ("b", "docker0")) as capture:
        move_about(lab, tmp_path, figure)
    ends = {IPv4Address(end) for pair in datagrams(capture) for end in pair}
    assert IPv4Address(_DOCKER) not in ends
    assert not [p for p in capture.packets if p.interface == "docker0" and VIPNET_PORT in p.ports]
    for host in ("a", "b"):
        assert _DOCKER not in locators(lab, host)

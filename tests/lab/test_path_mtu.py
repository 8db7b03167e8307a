"""Paths of 1,280 to 1,500 bytes, without a setting, whether routers say what passes or not."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.lab.apps.streams import download
from tests.lab.conftest import LabFactory
from tests.lab.labs import Lab, wait_until
from tests.lab.streams import check_nothing_lost, streams
from tests.lab.test_sizes import SIZES, serving
from tests.support import need_program

from vipnet.app.control import ask_daemon
from vipnet.wire.datagram import TCP_OVERHEAD

NAME = "b.vipip.net"
UDP_SIZE = 1372  # bytes: packets of 1,400
OVERHEAD = 28 + TCP_OVERHEAD  # bytes around an inner packet
PING_HEADERS = 28
PING = ("ping", "-M", "do", "-c", "2", "-i", "0.1", "-W", "2", "-s")

_SILENT = """\
table ip silent {
    chain out {
        type filter hook output priority 0
        icmp type destination-unreachable drop
    }
}
"""


def inside(lab: Lab, host: str, command: str, lines: str) -> None:
    """Let COMMAND, which runs where HOST is, read LINES."""
    command_line = ["ip", "netns", "exec", f"vipnet-{lab.name}-{host}", *command.split()]
    subprocess.run(command_line, input=lines, text=True, check=True, timeout=20)


def narrow(lab: Lab, mtu: int, *, silent: bool) -> None:
    """Let r pass no more than MTU bytes from LAN to LAN, and say so or not."""
    routes = (f"route replace 10.201.{lan}.0/24 dev lan{lan} mtu {mtu}" for lan in (1, 2))
    inside(lab, "r", "ip -batch -", "\n".join(routes))
    inside(lab, "r", "nft -f -", "flush ruleset\n" + (_SILENT if silent else ""))


def widen(lab: Lab) -> None:
    """Jumbo frames everywhere: a bridge is as narrow as its ports, a macvlan as what is below it."""
    ports = [f"{host}{lan}{end}" for host in "ab" for lan in (1, 2) for end in ("n", "")]
    links = (f"link set {name} mtu 9000" for name in (*ports, "lan1", "lan2"))
    routes = (f"route replace 10.201.{lan}.0/24 dev lan{lan}" for lan in (1, 2))
    inside(lab, "r", "ip -batch -", "\n".join((*links, *routes)))
    for host in ("a", "b"):
        inside(lab, host, "ip -batch -", "\n".join(f"link set eth{number} mtu 9000" for number in (0, 1)))


def wait_for(lab: Lab, what: Callable[[dict[str, Any]], object], value: int) -> None:
    """Until WHAT is VALUE in the status of a and of b; asked by their sockets: a command takes its time."""
    configs = [tomllib.loads(Path(host["config"]).read_text()) for host in lab.status()["hosts"].values()]
    run_dirs = [Path(config["run_dir"]) for config in configs]
    wait_until(lambda: all(what(ask_daemon(one, "status")) == value for one in run_dirs), f"all say {value}")


def path_mtu(status: dict[str, Any]) -> object:
    (peer,) = status["peers"]
    return peer["path_mtu"]


def forget_the_last_network(lab: Lab) -> None:
    """Kernels keep what they were told for ten minutes (net.ipv4.route.mtu_expires)."""
    for host in ("a", "b"):
        inside(lab, host, "ip -batch -", "route flush cache")


def check_pings(lab: Lab, mtu: int) -> None:
    """With DF the right size passes, and one byte more is answered."""
    fits = mtu - OVERHEAD
    assert " 0% packet loss" in ping(lab, fits)
    for _ in range(2):
        said = ping(lab, fits + 1).replace(" ", "")
        assert f"mtu={fits}" in said, "by ICMP, and from then on by the kernel itself"


def ping(lab: Lab, size: int) -> str:
    """What `ping` on a says of packets of SIZE bytes to b."""
    done = lab.on("a", *PING, str(size - PING_HEADERS), NAME, check=False)
    return done.stdout + done.stderr


def check_sizes(lab: Lab) -> None:
    """More than 1 MB by TCP, and datagrams of up to 65,507 bytes: every byte is right."""
    with serving(lab, "b"):
        done = lab.on("a", sys.executable, SIZES, "check", NAME, "200", "1")
    counts = json.loads(done.stdout)
    assert counts["tcp"] == [200, 200]
    sent, came_back = counts["udp"]
    assert came_back >= 0.9 * sent


def test_from_a_wide_network_to_narrow_ones(new_lab: LabFactory, tmp_path: Path) -> None:
    need_program("nft", "curl")
    lab = new_lab(dns="embedded")
    wait_until(lambda: lab.can_ping("a", NAME), "the first ping")
    both_ways = {"a": ("b",), "b": ("a",)}
    with streams(lab, tmp_path, both_ways, size=UDP_SIZE) as running, download(lab, tmp_path) as file:
        wait_for(lab, path_mtu, 1420 + OVERHEAD)  # all that tun0 can make
        lab.move("a")
        running.go_on("beside b")
        narrow(lab, 1280, silent=True)
        lab.move("a")
        running.go_on("behind a narrow link of which nobody speaks")
        wait_for(lab, path_mtu, 1280)
        goal = file.goal()
        wait_until(lambda: file.progress() >= goal, "the download goes on")
        check_nothing_lost(running.finish())
        file.finish()
    check_sizes(lab)
    check_pings(lab, 1280)
    path = lab.ask("a", "resolve", NAME)["steps"][-1]
    assert path["detail"].endswith(", MTU 1280"), "the path's, not the interface's"

    lab.move("a")
    narrow(lab, 1400, silent=False)
    lab.move("a")
    forget_the_last_network(lab)
    check_sizes(lab)
    wait_for(lab, path_mtu, 1400)
    check_pings(lab, 1400)

    widen(lab)
    lab.move("both")
    wait_for(lab, lambda status: status["tun"]["mtu"], 8920)
    forget_the_last_network(lab)
    assert " 0% packet loss" in ping(lab, 8920)
    wait_for(lab, path_mtu, 8920 + OVERHEAD)

"""Paths of 1,280 to 1,500 bytes, without a setting, whether routers say what passes or not."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from tests.lab.apps.streams import download
from tests.lab.conftest import LabFactory
from tests.lab.labs import Lab, wait_until
from tests.lab.streams import check_nothing_lost, streams
from tests.lab.test_sizes import SIZES, serving
from tests.support import need_program

NAME = "b.vipip.net"
UDP_SIZE = 1372  # bytes: packets of 1,400
OVERHEAD = 28 + 30  # bytes around an inner packet
PING_HEADERS = 28

_SILENT = """\
table ip silent {
    chain out {
        type filter hook output priority 0
        icmp type destination-unreachable drop
    }
}
"""


def narrow(lab: Lab, mtu: int, *, silent: bool, directory: Path) -> None:
    """Let r pass no more than MTU bytes from LAN to LAN, and say so or not."""
    for lan in (1, 2):
        lab.on("r", "ip", "route", "replace", f"10.201.{lan}.0/24", "dev", f"lan{lan}", "mtu", str(mtu))
    rules = directory / "rules.nft"
    rules.write_text("flush ruleset\n" + (_SILENT if silent else ""))
    lab.on("r", "nft", "-f", rules)


def path_mtu(lab: Lab, host: str) -> int:
    (peer,) = lab.ask(host, "peers")["peers"]
    found: int = peer["path_mtu"]
    return found


def check_pings(lab: Lab, mtu: int) -> None:
    """With DF the right size passes, and one byte more is answered."""
    fits = mtu - OVERHEAD
    command = ("ping", "-M", "do", "-c", "2", "-i", "0.1", "-W", "2", "-s")
    assert " 0% packet loss" in lab.on("a", *command, str(fits - PING_HEADERS), NAME).stdout
    for _ in range(2):
        done = lab.on("a", *command, str(fits - PING_HEADERS + 1), NAME, check=False)
        said = (done.stdout + done.stderr).replace(" ", "")
        assert f"mtu={fits}" in said, "by ICMP, and from then on by the kernel itself"


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
        wait_until(lambda: path_mtu(lab, "a") == path_mtu(lab, "b") == 1478, "all that tun0 can make")
        lab.move("a")
        running.go_on("beside b")
        narrow(lab, 1280, silent=True, directory=tmp_path)
        lab.move("a")
        running.go_on("behind a narrow link of which nobody speaks")
        wait_until(lambda: path_mtu(lab, "a") == path_mtu(lab, "b") == 1280, "1,280 bytes")
        goal = file.goal()
        wait_until(lambda: file.progress() >= goal, "the download goes on")
        check_nothing_lost(running.finish())
        file.finish()
    check_sizes(lab)
    check_pings(lab, 1280)

    lab.move("a")
    narrow(lab, 1400, silent=False, directory=tmp_path)
    lab.move("a")
    for host in ("a", "b"):
        lab.on(host, "ip", "route", "flush", "cache")  # what the kernel has learned of the last network
    check_sizes(lab)
    assert path_mtu(lab, "a") == path_mtu(lab, "b") == 1400
    check_pings(lab, 1400)

"""A network behind a captive portal, as a hotel's: known hosts stay, DNS waits, all is well when it opens."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

from tests.lab.apps.program import program, wait_until_bound
from tests.lab.conftest import LabFactory
from tests.lab.labs import Lab, wait_until
from tests.lab.test_dns_trouble import dig, name_server, published
from tests.support import need_program

_SERVER: Final = "10.201.1.1"
_PROGRAM: Final = str(Path(__file__).parent / "apps" / "portal_program.py")


def told(lab: Lab, name: str) -> list[str]:
    """TTL and address that an application on a is given."""
    lines = lab.on("a", "dig", "+noall", "+answer", "A", name).stdout.splitlines()
    return [f"{line.split()[1]} {line.split()[4]}" for line in lines]


def state(lab: Lab) -> str:
    found: str = lab.ask("a", "status")["state"]
    return found


def test_a_captive_portal(new_lab: LabFactory, tmp_path: Path) -> None:
    need_program("dig")
    lab = new_lab("--hosts", "3", "--legacy")
    b, d, legacy = "b.vipip.net", "d.vipip.net", "c.vipip.net"
    token = lab.host("b")["token"]
    assert told(lab, b) == [f"1 {token}"]
    with name_server(lab) as server:
        server.stop()
        portal = [sys.executable, "-P", _PROGRAM, _SERVER]
        with program(lab, "r", portal, tmp_path, name="portal") as process:
            wait_until_bound(process, "udp", 53)
            (move,) = lab.move("a")
            wait_until(lambda: state(lab) == "captive", "state captive")
            assert "captive" in lab.on("a", "vipnet", "status").stdout.splitlines()[0]
            said = published(lab, "a")
            assert said["state"] == "waiting"
            assert "captive portal" in said["error"]
            assert said["address"] == move["from"], "that is what DNS has"

            # b is where it was, and sealed traffic passes the portal here.
            assert told(lab, b) == [f"1 {token}"]
            assert lab.ask("a", "resolve", b)["kind"] == "vip"
            assert lab.can_ping("a", b)
            # Whoever opens a page gets the portal's.
            assert told(lab, legacy) == told(lab, d) == [f"5 {_SERVER}"]
        server.start()
        wait_until(lambda: state(lab) == "ready", "state ready")
        wait_until(lambda: published(lab, "a")["state"] == "ok", "a is in DNS")
        assert dig(lab, "a.vipip.net", "A").split() == [move["to"]]
        assert told(lab, d) == [f"1 {lab.host('d')['token']}"]
        assert told(lab, legacy) == [f"5 {lab.host('c')['address']}"]
        assert lab.can_ping("a", b)

"""Names from a person's side: a host that goes away for good, and who it was that sshd's log names."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from tests.lab.apps.shells import ssh
from tests.lab.conftest import LabFactory
from tests.lab.labs import Lab, wait_until
from tests.support import need_program

B = "b.vipip.net"


def resolve(lab: Lab, name: str) -> dict[str, Any]:
    reply: dict[str, Any] = json.loads(lab.on("a", "vipnet", "resolve", name, "--json", check=False).stdout)
    return reply


def told(lab: Lab, name: str) -> list[str]:
    """What an application on a is told of NAME's address."""
    return lab.on("a", "dig", "+short", "A", name).stdout.split()


def test_a_host_that_gives_vipnet_up_is_known_as_such_and_then_legacy(new_lab: LabFactory) -> None:
    need_program("dig")
    lab = new_lab(dns="embedded")
    address, token = lab.host("b")["address"], lab.host("b")["token"]
    assert resolve(lab, B)["problem"] is None
    assert told(lab, B) == [token]

    lab.on("b", "vipnet", "down")
    away = lab.on("a", "vipnet", "ping", B, check=False)
    assert away.returncode == 1
    assert away.stdout.split()[-2:] == ["no", "answer"]
    said = " ".join(away.stdout.split())
    assert "vipnet does not run there" in said
    assert f"`sudo vipnet trust remove {B}`" in said
    assert told(lab, B) == [token]

    # Withdrawn, or suppressed by somebody on the way: a cannot know, and gives no real address.
    lab.on("b", "vipnet", "down", "--unpublish")
    gone = resolve(lab, B)
    assert (gone["kind"], gone["address"]) == ("vip", token)
    assert "no capability record" in gone["problem"]
    assert f"`sudo vipnet trust remove {B}`" in gone["problem"]
    assert told(lab, B) == [token]

    lab.on("a", "vipnet", "trust", "remove", B)
    legacy = resolve(lab, B)
    assert (legacy["kind"], legacy["address"], legacy["problem"]) == ("legacy", address, None)
    assert told(lab, B) == [address]
    assert lab.can_ping("a", B)


def located(lab: Lab, host: str) -> Iterator[tuple[float, dict[str, str]]]:
    """When HOST's log says that a token is at another place, and what it says."""
    for line in lab.daemon_log(host).read_text().splitlines():
        found = re.match(r"(\S+ \S+) INFO +peer\.located (.+)", line)
        if found is not None:
            at = datetime.strptime(found[1], "%Y-%m-%d %H:%M:%S,%f").astimezone().timestamp()
            yield at, dict(field.split("=", 1) for field in found[2].split())


def behind(lab: Lab, host: str, token: str, at: float) -> tuple[str, str]:
    """Name and locator of TOKEN at a time, by HOST's log alone."""
    lines = [fields for when, fields in located(lab, host) if fields["token"] == token and when <= at]
    assert lines, f"nothing of {token} in the log"
    return lines[-1]["peer"], lines[-1]["locator"]


def test_who_it_was_that_the_log_of_sshd_names(new_lab: LabFactory, tmp_path: Path) -> None:
    """sshd knows the token alone; our log and `vipnet resolve` know who that was, and where."""
    lab = new_lab(dns="embedded")
    log = tmp_path / "sshd.err"
    with ssh(lab, tmp_path) as session:
        accepted = re.search(r"Accepted publickey for root from (\S+) port", log.read_text())
        assert accepted is not None
        token, accepted_at = accepted[1], time.time()
        (move,) = lab.move("a")
        goal = session.goal()
        wait_until(lambda: session.progress() >= goal, "the session goes on")
        session.finish()
    wait_until(lambda: f"Disconnected from user root {token}" in log.read_text(), "sshd's farewell")
    assert behind(lab, "b", token, accepted_at) == ("a.vipip.net", f"{move['from']}:5847")
    assert behind(lab, "b", token, time.time()) == ("a.vipip.net", f"{move['to']}:5847")
    now = lab.ask("b", "resolve", token)
    assert (now["name"], now["locator"]) == ("a.vipip.net", f"{move['to']}:5847")

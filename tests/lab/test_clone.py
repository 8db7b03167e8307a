"""A machine that was copied with its key: what its owner, and the owner of a partner, get to see."""

from __future__ import annotations

import json
import shutil
import tomllib
from pathlib import Path

import pytest
from tests.lab.conftest import LabFactory
from tests.lab.labs import Lab, wait_until
from tests.lab.test_dns_trouble import dig

A, B = "a.vipip.net", "b.vipip.net"


def put_image_on(lab: Lab, original: str, machine: str) -> None:
    """Make MACHINE what ORIGINAL is: configuration, key and store; only the directories differ."""
    for host in (original, machine):
        lab.on(host, "vipnet", "down")
    source, target = (Path(lab.host(host)["config"]) for host in (original, machine))
    theirs, ours = (tomllib.loads(path.read_text()) for path in (source, target))
    text = source.read_text()
    for key in ("state_dir", "run_dir"):
        text = text.replace(f'"{theirs[key]}"', f'"{ours[key]}"')
    target.write_text(text)
    shutil.rmtree(ours["state_dir"])
    shutil.copytree(theirs["state_dir"], ours["state_dir"])


@pytest.mark.stack
def test_two_machines_with_one_key(new_lab: LabFactory) -> None:
    lab = new_lab("--hosts", "3")
    assert lab.can_ping("a", B)
    put_image_on(lab, "a", "d")
    first, second = lab.host("a")["address"], lab.host("d")["address"]
    lab.on("a", "vipnet", "up")
    assert lab.can_ping("a", B)
    lab.on("d", "vipnet", "up")
    wait_until(lambda: dig(lab, A, "A").split() == [second], "the copy takes the name over")

    def noticed() -> bool:
        for machine in ("a", "d"):  # each speaks to b, and b to whoever spoke last
            lab.can_ping(machine, B)
        return all(lab.ask(machine, "status")["state"] == "cloned-key" for machine in ("a", "d"))

    wait_until(noticed, "both machines know")

    # On the machine itself.
    assert "cloned-key" in lab.on("a", "vipnet", "status").stdout
    log = lab.daemon_log("a").read_text()
    assert "trust.own_key_cloned" in log
    assert "vipnet key rotate on one of the two machines" in log
    wait_until(lambda: lab.ask("a", "status")["publish"]["state"] == "waiting", "a leaves the name alone")
    assert "another machine uses" in lab.ask("a", "status")["publish"]["error"]
    (move,) = lab.move("a")
    wait_until(lambda: lab.ask("a", "status")["locators"] == [f"{move['to']}:5847"], "a has moved")
    assert dig(lab, A, "A").split() == [second], "or it would flap between the two"
    found = json.loads(lab.on("a", "vipnet", "doctor", "--json", check=False).stdout)["checks"]
    (daemon,) = [check for check in found if check["id"] == "daemon"]
    assert (daemon["state"], daemon["found"]) == ("fail", "another machine uses this host's key")

    # At the partner.
    (peer,) = [one for one in lab.ask("b", "peers")["peers"] if one["name"] == A]
    assert peer["cloned_key"]
    assert "two machines have its key" in lab.on("b", "vipnet", "peers").stdout
    assert "trust.cloned_key" in lab.daemon_log("b").read_text()
    assert first != second

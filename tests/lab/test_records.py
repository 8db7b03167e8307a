"""What stands in DNS: right again after an unclean stop, and without `_vip` after `down --unpublish`."""

from __future__ import annotations

from tests.lab.conftest import LabFactory
from tests.lab.labs import Lab
from tests.lab.test_dns_trouble import dig
from tests.lab.test_restart import kill_daemon


def records(lab: Lab, host: str) -> tuple[str, bool]:
    """The A record, and whether there is a `_vip` record."""
    name = f"{host}.vipip.net"
    return dig(lab, name, "A").strip(), "v=vip1" in dig(lab, f"_vip.{name}", "TXT")


def test_records_after_a_crash_and_after_unpublishing(new_lab: LabFactory) -> None:
    lab = new_lab()
    token = lab.ask("b", "resolve", "a.vipip.net")["address"]
    kill_daemon(lab, "a")
    (move,) = lab.move("a")
    assert records(lab, "a") == (move["from"], True)  # of the crash, and wrong
    lab.on("a", "vipnet", "up")
    assert records(lab, "a") == (move["to"], True)

    lab.on("a", "vipnet", "down", "--unpublish")
    assert records(lab, "a") == (move["to"], False)
    # For b it is a vipnet host that is away, whatever DNS says, until b's user has decided.
    assert lab.ask("b", "resolve", "a.vipip.net")["address"] == token
    lab.on("b", "vipnet", "trust", "remove", "a.vipip.net")
    found = lab.ask("b", "resolve", "a.vipip.net")
    assert (found["kind"], found["address"]) == ("legacy", move["to"])

    # It needs no daemon.
    lab.on("b", "vipnet", "down")
    assert records(lab, "b") == ("10.201.2.20", True)
    done = lab.on("b", "vipnet", "down", "--unpublish")
    assert done.stdout == "b.vipip.net is not running; cleaned up; its _vip record is out of DNS\n"
    assert records(lab, "b") == ("10.201.2.20", False)

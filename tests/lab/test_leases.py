"""When a lease has run out, the next packet asks DNS once; who has no traffic is silent."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest
from tests.lab.conftest import LabFactory
from tests.lab.labs import Lab, wait_until
from tests.lab.sniffer import LANS, VIPNET_PORT, sniffing

_LEASE_S: Final = 2.0
_KEEPALIVES_S: Final = 20.0  # the last word of a stream that has ended in peace comes long before


def with_short_lease(lab: Lab, host: str) -> None:
    config = Path(lab.host(host)["config"])
    text = config.read_text().replace("[mobility]\n", f"[mobility]\nlease_s = {_LEASE_S}\n")
    assert tomllib.loads(text)["mobility"]["lease_s"] == _LEASE_S
    config.write_text(text)
    lab.on(host, "vipnet", "down")
    lab.on(host, "vipnet", "up")


def questions(lab: Lab, host: str, about: str) -> list[str]:
    """What HOST has asked BIND about a name's address."""
    log = Path(lab.status()["dns"]["log"]).read_text().lower()
    address = lab.host(host)["address"]
    return [line for line in log.splitlines() if f" {address}#" in line and f" {about} in a " in line]


def lease_left_s(lab: Lab) -> float:
    """Seconds of the lease that a has for b; 0: it is over."""
    (peer,) = lab.ask("a", "peers")["peers"]
    return float(peer["lease_s"] or 0.0)


@pytest.mark.stack
def test_a_lease_that_ran_out_costs_one_question(
    new_lab: LabFactory, tmp_path: Path, figure: Callable[[str], None]
) -> None:
    lab = new_lab()
    for host in ("a", "b"):
        with_short_lease(lab, host)
    b = "b.vipip.net"
    token = lab.ask("a", "resolve", b)["address"]
    for _ in range(2):  # within the lease
        assert lab.can_ping("a", token)
    wait_until(lambda: lease_left_s(lab) == 0.0, "the end of the lease", within_s=_KEEPALIVES_S)
    with sniffing(lab, tmp_path, *LANS) as capture:
        before = questions(lab, "a", b)
        # Idle: long enough for every timer but a lease's to show itself.
        lab.on("a", "sleep", str(2 * _LEASE_S))
        assert questions(lab, "a", b) == before, "nobody asks without a reason"
    assert not [p for p in capture.packets if VIPNET_PORT in p.ports], "idle hosts are silent"
    assert lab.can_ping("a", token)
    wait_until(lambda: len(questions(lab, "a", b)) > len(before), "the question")
    for _ in range(3):
        assert lab.can_ping("a", token)
    assert len(questions(lab, "a", b)) == len(before) + 1
    figure(f"lease of {_LEASE_S:g} s: one question")

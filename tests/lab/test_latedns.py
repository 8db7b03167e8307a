"""The forwarder before BIND: late and deaf to order, for both LANs, over UDP and TCP, and for updates."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator

import pytest
from tests.lab.labs import Lab, run, running_lab, wait_until
from tests.support import need_program

DELAY_MS = 300


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    need_program("dig", "nft")
    with running_lab() as found:
        yield found


def asked_ms(lab: Lab, host: str, *options: str) -> float | None:
    """What dig says that its question took; None when no answer came."""
    done = lab.on(
        host, "dig", "+tries=1", "+time=2", *options, "@10.201.1.1", "b.vipip.net", "A", check=False
    )
    took = re.search(r"Query time: (\d+) msec", done.stdout)
    assert (took is None) == ("10.201." not in done.stdout.partition("ANSWER SECTION")[2]), done.stdout
    return float(took[1]) if took else None


@pytest.mark.parametrize("host", ["a", "b"])
@pytest.mark.parametrize("transport", ["+notcp", "+tcp"])
def test_answers_are_as_late_as_ordered(lab: Lab, host: str, transport: str) -> None:
    run(lab.command("dns", "--delay", str(DELAY_MS)))
    late_ms = asked_ms(lab, host, transport)
    run(lab.command("dns"))
    usual_ms = asked_ms(lab, host, transport)
    assert late_ms is not None
    assert usual_ms is not None
    assert late_ms >= DELAY_MS
    assert usual_ms < late_ms


def test_a_deaf_server_says_nothing_and_hears_again(lab: Lab) -> None:
    run(lab.command("dns", "--loss", "100"))
    assert asked_ms(lab, "a", "+notcp") is None
    run(lab.command("dns"))
    assert asked_ms(lab, "a", "+notcp") is not None


def test_updates_pass_late_too_and_the_router_itself_is_not_redirected(lab: Lab) -> None:
    run(lab.command("dns", "--delay", str(DELAY_MS)))
    began = time.monotonic()
    lab.move("a")
    place = lab.host("a")["address"]
    ask = ["dig", "+short", "@10.201.1.1", "a.vipip.net", "A"]
    wait_until(lambda: lab.on("r", *ask).stdout.strip() == place, "a's new address at BIND")
    assert time.monotonic() - began >= DELAY_MS / 2000
    run(lab.command("dns"))
    wait_until(lambda: lab.ask("a", "status")["publish"]["state"] == "ok", "a's update is confirmed")

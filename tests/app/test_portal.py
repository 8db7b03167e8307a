"""A captive portal is noticed, is not believed, and leaves nothing behind when it opens."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset
import pytest
import trio
from tests.app.house import OLD, TOKENS, B, C, House, data, reason
from trio.testing import MockClock

from vipnet.app import portal as portal_module
from vipnet.app.portal import ALWAYS_THERE, OPEN_CHECK_MAX_S, PROBE_DELAY_S, PortalWatch
from vipnet.errors import LookupFailedError

PORTAL, ROOT, SEARCH = "10.0.0.1", "198.41.0.4", "203.0.113.80"


class Network:
    """The network's resolver: `answers` gives an address for "invalid" and for "root", or none."""

    def __init__(self) -> None:
        self.answers: dict[str, str] = {"root": ROOT}
        self.deaf = False
        self.rcode = dns.rcode.NXDOMAIN
        self.asked: list[tuple[float, str]] = []
        self.told: list[bool] = []
        self.watch = PortalWatch(self.exchange, self.told.append)

    async def exchange(self, wire: bytes) -> bytes:
        if self.deaf:
            raise LookupFailedError("no answer")
        query = dns.message.from_wire(wire)
        name = query.question[0].name.to_text(omit_final_dot=True)
        self.asked.append((trio.current_time(), name))
        response = dns.message.make_response(query)
        address = self.answers.get("root" if name == ALWAYS_THERE else "invalid")
        if address is None:
            response.set_rcode(self.rcode)
        else:
            response.answer.append(dns.rrset.from_text(f"{name}.", 300, "IN", "A", address))
        return response.to_wire()

    def close(self) -> None:
        self.answers = {"root": PORTAL, "invalid": PORTAL}

    def open(self) -> None:
        self.answers = {"root": ROOT}

    def run(self, main: Callable[[], Awaitable[None]]) -> None:
        async def everything() -> None:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.watch.run)
                await main()
                nursery.cancel_scope.cancel()

        trio.run(everything, clock=MockClock(autojump_threshold=0))


def test_a_portal_is_noticed_after_an_event_and_so_is_its_end() -> None:
    network = Network()

    async def main() -> None:
        network.close()
        await trio.sleep(1000)
        assert network.asked == [], "nobody asks without a reason"
        network.watch.handle_network()
        await trio.sleep(PROBE_DELAY_S - 0.01)
        assert network.asked == [], "what a move sends goes first"
        await trio.sleep(0.02)
        assert network.watch.captive
        names = [name for _, name in network.asked]
        assert sorted(name.endswith(".invalid") for name in names) == [False, True]
        await trio.sleep(60)
        network.open()
        await trio.sleep(OPEN_CHECK_MAX_S + 0.01)
        assert not network.watch.captive
        assert network.told == [True, False]
        asked = len(network.asked)
        await trio.sleep(1000)
        assert len(network.asked) == asked

    network.run(main)


def test_no_two_questions_are_alike() -> None:
    network = Network()

    async def main() -> None:
        network.close()
        network.watch.suspect()
        await trio.sleep(60)
        names = [name for _, name in network.asked if name != ALWAYS_THERE]
        assert len(names) == len(set(names)) > 5

    network.run(main)


@pytest.mark.parametrize(
    "answers",
    [
        pytest.param({"root": ROOT}, id="the truth"),
        pytest.param({"root": ROOT, "invalid": SEARCH}, id="a search page for typing errors"),
        pytest.param({}, id="an island without the root"),
    ],
)
@pytest.mark.parametrize("rcode", [dns.rcode.NXDOMAIN, dns.rcode.REFUSED])
def test_other_networks_are_no_portals(answers: dict[str, str], rcode: dns.rcode.Rcode) -> None:
    network = Network()

    async def main() -> None:
        network.answers, network.rcode = answers, rcode
        network.watch.handle_network()
        await trio.sleep(10)
        assert len(network.asked) == 2
        assert network.told == []

    network.run(main)


def test_silence_proves_nothing() -> None:
    network = Network()

    async def main() -> None:
        network.close()
        network.watch.suspect()
        await trio.sleep(1)
        network.deaf = True
        await trio.sleep(60)
        assert network.watch.captive, "the last that was heard"
        network.watch.handle_network()
        assert not network.watch.captive, "another network is innocent"
        assert network.told == [True, False]

    network.run(main)


def test_nonsense_is_no_portal() -> None:
    network = Network()

    async def nonsense(_wire: bytes) -> bytes:
        return b"nonsense, and too short"

    async def main() -> None:
        watch = portal_module.PortalWatch(nonsense, network.told.append)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(watch.run)
            watch.suspect()
            await trio.sleep(10)
            nursery.cancel_scope.cancel()
        assert network.told == []

    network.run(main)


# --- names behind a portal


def answer_as_portal(response: dns.message.Message) -> dns.message.Message:
    """Every name has the portal's address, every TXT is junk."""
    question = response.question[0]
    response.set_rcode(dns.rcode.NOERROR)
    response.answer, response.authority = [], []
    text = {"A": PORTAL, "TXT": '"welcome" "v=vip1 k=junk p=5847"'}.get(
        dns.rdatatype.to_text(question.rdtype)
    )
    if text is not None:
        rdtype = dns.rdatatype.to_text(question.rdtype)
        response.answer.append(dns.rrset.from_text(question.name, 3600, "IN", rdtype, text))
    return response


def test_known_names_stay_vip_behind_a_portal_and_the_others_lead_to_it() -> None:
    house = House()

    async def main() -> None:
        await house.ask(B)
        house.stored.add(C)
        house.reachable = False
        house.upstream.rewrite, house.captive = answer_as_portal, True
        assert data(await house.ask(B)) == ["1 A 242.0.0.2"]
        assert data(await house.ask(B, "AAAA")) == []
        assert "c.vipip.test" in reason(await house.ask(C)), "known, without a binding"
        # So that the log-in page comes up; not for longer than need be.
        assert data(await house.ask(OLD)) == [f"5 A {PORTAL}"]

    house.run(main)


def test_what_a_portal_said_is_forgotten_when_it_opens() -> None:
    house = House()

    async def main() -> None:
        house.upstream.rewrite, house.captive = answer_as_portal, True
        assert data(await house.ask(B)) == [f"5 A {PORTAL}"]
        assert house.bound == [], "junk is no record"
        house.upstream.rewrite, house.captive = lambda response: response, False
        house.service.kinds.forget_legacy()
        assert data(await house.ask(B)) == [f"1 A {TOKENS[B]}"]

    house.run(main)

"""Which answers to a signed message count."""

from __future__ import annotations

from collections.abc import Callable

import dns.flags
import dns.message
import dns.rcode
import dns.tsig
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from tests.bind import tsig_key
from trio.testing import MockClock

from vipnet.errors import LookupFailedError
from vipnet.publish.signed import Answer, SignedExchange
from vipnet.types import Locator

KEY = tsig_key("a.vipip.test")
FIRST, SECOND = Locator("192.0.2.1", 53), Locator("192.0.2.2", 53)

Reply = Callable[[bytes], bytes]


def signed(code: dns.rcode.Rcode, key: dns.tsig.Key = KEY) -> Reply:
    def reply(wire: bytes) -> bytes:
        query = dns.message.from_wire(wire, keyring=KEY)
        response = dns.message.make_response(query)
        response.set_rcode(code)
        response.use_tsig(key)
        response.request_mac = query.mac or b""
        return response.to_wire()

    return reply


def unsigned(code: dns.rcode.Rcode) -> Reply:
    def reply(wire: bytes) -> bytes:
        query = dns.message.from_wire(wire, keyring=KEY)
        response = dns.message.QueryMessage(id=query.id)
        response.flags = dns.flags.QR
        response.question = query.question
        response.set_rcode(code)
        return response.to_wire()

    return reply


class Server:
    """Answers of both protocols, in order; those that are not accepted are passed over.

    takes_s: until an answer comes, by server and protocol.
    """

    def __init__(
        self, udp: list[Reply], tcp: list[Reply], takes_s: dict[tuple[Locator, bool], float] | None = None
    ) -> None:
        self._replies = {False: udp, True: tcp}
        self._takes_s = takes_s or {}
        self.asked: list[tuple[Locator, bool]] = []

    async def __call__(
        self,
        query: bytes,
        server: Locator,
        *,
        tcp: bool,
        accept: Callable[[bytes], bool] | None,
        timeout_s: float,
    ) -> bytes:
        self.asked.append((server, tcp))
        assert accept is not None
        with trio.move_on_after(timeout_s) as scope:
            await trio.sleep(self._takes_s.get((server, tcp), 0))
        if scope.cancelled_caught:
            raise LookupFailedError(f"{server} does not answer")
        for reply in self._replies[tcp]:
            wire = reply(query)
            if accept(wire):
                return wire
        raise LookupFailedError(f"{server} does not answer")


def exchange(
    server: Server, *servers: Locator, has_route: Callable[[Locator], bool] = lambda _server: True
) -> Answer:
    query = dns.message.make_query("a.vipip.test", "A")
    query.use_tsig(KEY)
    clock = MockClock(autojump_threshold=0)
    return trio.run(SignedExchange(server, KEY, has_route=has_route), query, servers or (FIRST,), clock=clock)


NOERROR, REFUSED, NXRRSET = dns.rcode.NOERROR, dns.rcode.REFUSED, dns.rcode.NXRRSET


@pytest.mark.parametrize("code", [NOERROR, REFUSED, NXRRSET])
def test_a_signed_answer_counts_at_once(code: dns.rcode.Rcode) -> None:
    server = Server([signed(code)], [])
    answer = exchange(server)
    assert (answer.code, answer.authentic) == (code, True)
    assert server.asked == [(FIRST, False)]


@pytest.mark.parametrize("code", [NOERROR, NXRRSET])
def test_an_unsigned_answer_that_should_be_signed_is_passed_over(code: dns.rcode.Rcode) -> None:
    answer = exchange(Server([unsigned(code), signed(REFUSED)], []))
    assert (answer.code, answer.authentic) == (REFUSED, True)


def test_an_answer_signed_with_another_key_is_passed_over() -> None:
    other = tsig_key("a.vipip.test", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=")
    answer = exchange(Server([signed(NOERROR, other), signed(REFUSED)], []))
    assert (answer.code, answer.authentic) == (REFUSED, True)


def test_an_unsigned_refusal_in_a_datagram_is_not_believed() -> None:
    server = Server([unsigned(REFUSED)], [signed(NOERROR)])
    answer = exchange(server)
    assert (answer.code, answer.authentic) == (NOERROR, True)
    assert server.asked == [(FIRST, False), (FIRST, True)]


def test_an_unsigned_refusal_over_tcp_is_believed() -> None:
    answer = exchange(Server([unsigned(REFUSED)], [unsigned(REFUSED)]))
    assert (answer.code, answer.authentic) == (REFUSED, False)


def test_tcp_comes_after_udp_and_the_next_server_after_both() -> None:
    server = Server([], [])
    with pytest.raises(LookupFailedError, match=r"192\.0\.2\.1:53 does not answer.*192\.0\.2\.2:53"):
        exchange(server, FIRST, SECOND)
    assert server.asked == [(FIRST, False), (FIRST, True), (SECOND, False), (SECOND, True)]


def test_a_slow_answer_is_awaited_while_others_are_asked() -> None:
    slow = {(where, tcp): 11.0 for where in (FIRST, SECOND) for tcp in (False, True)}
    server = Server([signed(NOERROR)], [signed(NOERROR)], slow)
    assert exchange(server, FIRST, SECOND).server == FIRST
    assert server.asked == [(FIRST, False), (FIRST, True), (SECOND, False), (SECOND, True)]


def test_tcp_is_not_kept_waiting_by_datagrams_that_are_eaten() -> None:
    server = Server([signed(NOERROR)], [signed(REFUSED)], {(FIRST, False): 1_000.0})
    assert exchange(server, FIRST, SECOND).code == REFUSED
    assert server.asked == [(FIRST, False), (FIRST, True)]


def test_a_server_that_never_answers_is_given_up() -> None:
    never = {(FIRST, tcp): 1_000.0 for tcp in (False, True)}
    with pytest.raises(LookupFailedError, match="does not answer"):
        exchange(Server([signed(NOERROR)], [], never))


def test_a_server_that_a_route_leads_to_comes_first() -> None:
    server = Server([signed(NOERROR)], [])
    answer = exchange(server, FIRST, SECOND, has_route=lambda where: where == SECOND)
    assert answer.server == SECOND
    assert server.asked == [(SECOND, False)]


@given(st.binary(max_size=100), st.integers(0, 60))
def test_garbage_is_passed_over(noise: bytes, cut: int) -> None:
    def garbled(wire: bytes) -> bytes:
        good = signed(NOERROR)(wire)
        return good[: len(good) - cut] + noise if noise or cut else noise

    answer = exchange(Server([lambda wire: noise, garbled, signed(REFUSED)], []))
    assert (answer.code, answer.authentic) == (REFUSED, True)

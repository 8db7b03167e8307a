from __future__ import annotations

from collections.abc import Callable

import pytest
from tests.publish.doubles import DUCK_SEES, RECORD, DuckDnsDouble
from tests.publish.webdouble import SECRET, Double, Reply, Request, with_double

from vipnet.errors import PublishError
from vipnet.names.desired import Desired
from vipnet.publish.duckdns import DuckDns
from vipnet.publish.httpclient import HttpClient
from vipnet.publish.secret import Secret
from vipnet.types import Fqdn

ME = Fqdn("me.duckdns.org")
BOTH, V4, V6 = ("192.0.2.1", "2001:db8::1"), ("192.0.2.2",), ("2001:db8::3",)


def publish(answer: Callable[[Request], Reply], *sets: tuple[str, ...], token: Secret = SECRET) -> Double:
    async def use(web: HttpClient, url: str, double: Double) -> Double:
        duck = DuckDns(web, token, url=url)
        for addresses in sets:
            desired = Desired(ME, addresses, RECORD)
            await (duck.publish(desired) if addresses else duck.withdraw(desired))
        return double

    return with_double(answer, "www.duckdns.org", use)


def test_addresses_and_record() -> None:
    duck = DuckDnsDouble()
    asked = publish(duck, BOTH)
    assert (duck.ip, duck.ipv6, duck.txt) == (*BOTH, str(RECORD))
    assert len(asked.requests) == 2


def test_what_it_sees_itself() -> None:
    """The specification: with `ip` left blank it takes the IPv4 address of the request."""
    duck = DuckDnsDouble()

    async def use(web: HttpClient, url: str, _: Double) -> tuple[str, ...]:
        return await DuckDns(web, SECRET, url=url, echoes=True).publish(Desired(ME, BOTH, RECORD))

    assert with_double(duck, "www.duckdns.org", use) == (DUCK_SEES, BOTH[1])
    assert (duck.ip, duck.ipv6, duck.txt) == (DUCK_SEES, BOTH[1], str(RECORD))


def test_a_move_is_one_request() -> None:
    duck = DuckDnsDouble()
    assert len(publish(duck, BOTH, ("192.0.2.9", "2001:db8::9")).requests) == 3
    assert (duck.ip, duck.ipv6) == ("192.0.2.9", "2001:db8::9")


@pytest.mark.parametrize("kept", [V4, V6])
def test_a_family_that_is_gone_is_removed(kept: tuple[str]) -> None:
    duck = DuckDnsDouble()
    publish(duck, BOTH, kept)
    assert {duck.ip, duck.ipv6} == {"", *kept}


def test_an_ipv6_address_of_an_earlier_run_is_removed() -> None:
    duck = DuckDnsDouble()
    duck.ipv6 = "2001:db8::dead"
    publish(duck, V4)
    assert (duck.ip, duck.ipv6) == (V4[0], "")


def test_an_address_that_does_not_go_away_is_said() -> None:
    with pytest.raises(PublishError, match="keeps 2001:db8::dead"):
        publish(lambda _: Reply(200, "OK\n192.0.2.2\n2001:db8::dead\nNOCHANGE"), V4)


def test_withdrawal() -> None:
    duck = DuckDnsDouble()
    publish(duck, BOTH, ())
    assert (duck.ip, duck.ipv6, duck.txt) == (*BOTH, "")


def test_ko_is_for_good_and_says_why() -> None:
    with pytest.raises(PublishError) as caught:
        publish(DuckDnsDouble(), V4, token=Secret("wrong-token"))
    assert caught.value.permanent
    assert 'answers "KO"' in str(caught.value)
    assert "secret_file" in str(caught.value)
    assert "wrong-token" not in str(caught.value)


@pytest.mark.parametrize("reply", [Reply(502, "bad gateway"), Reply(200, "<html>Log in"), Reply(200, "")])
def test_trouble_may_pass(reply: Reply) -> None:
    with pytest.raises(PublishError) as caught:
        publish(lambda _: reply, V4)
    assert not caught.value.permanent

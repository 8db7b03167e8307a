"""dyndns2: every return code leads to what its documentation asks for.

https://help.dyn.com/remote-access-api/return-codes/, https://www.noip.com/integrate/response,
https://www.dy.fi/page/specification
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import trio
from msgspec.structs import replace
from tests.publish.webdouble import SECRET, Double, Reply, Request, with_double

from vipnet.errors import PublishError
from vipnet.names.desired import Desired
from vipnet.publish.dyndns2 import DAY_S, PAUSE_S, SERVICES, Dyndns2, Service, user_agent
from vipnet.publish.httpclient import HttpClient
from vipnet.publish.web import Answer
from vipnet.types import Fqdn

ME = Fqdn("me.ddns.net")
BOTH, V4 = ("192.0.2.1", "2001:db8::1"), ("192.0.2.2",)
USER = "me@example.org"
ANY = Service("https://ddns.test/nic/update")


class FakeWeb:
    """Answers with the next of `texts`, the last one for ever; a number is a status without text."""

    def __init__(self, *texts: str | Answer) -> None:
        self.texts = list(texts)
        self.queries: list[Mapping[str, str]] = []

    async def __call__(self, method: str, url: str, **how: Any) -> Answer:
        assert (method, how["basic"]) == ("GET", (USER, SECRET.reveal()))
        self.queries.append(how["query"])
        await trio.lowlevel.checkpoint()
        text = self.texts.pop(0) if len(self.texts) > 1 else self.texts[0]
        return text if isinstance(text, Answer) else Answer(200, text)


def publisher(web: FakeWeb, service: Service = ANY, now: Callable[[], float] = lambda: 0.0) -> Dyndns2:
    return Dyndns2(web, service, USER, SECRET, now=now)


def publish(dyndns2: Dyndns2, addresses: tuple[str, ...] = V4) -> tuple[str, ...]:
    return trio.run(dyndns2.publish, Desired(ME, addresses))


def refused(dyndns2: Dyndns2, addresses: tuple[str, ...] = V4) -> PublishError:
    with pytest.raises(PublishError) as caught:
        publish(dyndns2, addresses)
    return caught.value


@pytest.mark.parametrize(
    "text", ["good 192.0.2.2", "nochg 192.0.2.2", "good", "nochg\r\n", " good 192.0.2.2\n"]
)
def test_success(text: str) -> None:
    assert publish(publisher(FakeWeb(text))) == V4


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("badauth", "refuses user and password (badauth): check [publish] user and secret_file"),
        ("badsys", "does not know this kind of update"),
        ("badagent", "has blocked this program"),
        ("!donator", "wants a paid account"),
        ("!yours", "says that me.ddns.net belongs to another account"),
        ("notfqdn", "does not take me.ddns.net as a name"),
        ("nohost", "has no me.ddns.net in this account"),
        ("numhost", "with several addresses or too many names"),
        ("abuse", "has blocked me.ddns.net for too many updates (abuse): unblock it there"),
        ("badip 192.0.2.2", "does not take this host's address"),
    ],
)
def test_fatal_codes_end_it_until_the_user_has_acted(code: str, words: str) -> None:
    web = FakeWeb(code, "good")
    dyndns2 = publisher(web)
    error = refused(dyndns2)
    assert error.permanent
    assert words in str(error)
    assert "\n" not in str(error)
    # "... without user intervention": not with another address either.
    assert str(refused(dyndns2, BOTH)) == str(error)
    assert len(web.queries) == 1


@pytest.mark.parametrize("code", ["dnserr", "911"])
def test_trouble_on_their_side_is_left_alone_for_half_an_hour(code: str) -> None:
    web = FakeWeb(code, "good")
    dyndns2 = publisher(web)
    error = refused(dyndns2)
    assert (error.permanent, error.retry_after_s) == (False, PAUSE_S)
    assert code in str(error)
    assert publish(dyndns2) == V4


def test_good_with_the_loopback_means_that_nobody_listens() -> None:
    """Dyn: "good 127.0.0.1" is what a blocked agent gets."""
    error = refused(publisher(FakeWeb("good 127.0.0.1")))
    assert error.permanent
    assert "blocked this program" in str(error)


@pytest.mark.parametrize(
    "text",
    ["", "<html><body>Please log in</body></html>", "good 192.0.2.2\n<p>", "goodness", "x" * 9999, "好"],
)
def test_what_is_no_answer_may_pass(text: str) -> None:
    assert not refused(publisher(FakeWeb(text))).permanent


@pytest.mark.parametrize(
    ("answer", "permanent", "retry_after_s"),
    [
        (Answer(401, "badauth"), True, 0),
        (Answer(401, ""), True, 0),
        (Answer(403, "abuse"), True, 0),
        (Answer(404, "not here"), True, 0),
        (Answer(429, "", 90), False, 90),
        (Answer(503, "", 90), False, 90),
        (Answer(302, ""), False, 0),
    ],
)
def test_http_errors(answer: Answer, permanent: bool, retry_after_s: float) -> None:
    error = refused(publisher(FakeWeb(answer)))
    assert (error.permanent, error.retry_after_s) == (permanent, retry_after_s)


def test_never_the_same_address_twice_in_a_row() -> None:
    web = FakeWeb("good")
    dyndns2 = publisher(web)
    for addresses in (V4, V4, BOTH, BOTH, V4):
        publish(dyndns2, addresses)
    assert [query["myip"] for query in web.queries] == [V4[0], ",".join(BOTH), V4[0]]


def test_after_an_update_with_unknown_outcome_it_is_sent_again() -> None:
    web = FakeWeb("good", Answer(500, ""), "good")
    dyndns2 = publisher(web)
    publish(dyndns2, V4)
    refused(dyndns2, BOTH)
    publish(dyndns2, V4)
    assert len(web.queries) == 3


@pytest.mark.parametrize(
    ("way", "addresses", "parameters"),
    [
        ("list", BOTH, {"myip": "192.0.2.1,2001:db8::1"}),
        ("families", BOTH, {"myip": "192.0.2.1", "myipv6": "2001:db8::1"}),
        ("families", V4, {"myip": "192.0.2.2", "myipv6": "no"}),
        ("none", V4, {}),
    ],
)
def test_ways_to_say_an_address(way: str, addresses: tuple[str, ...], parameters: dict[str, str]) -> None:
    web = FakeWeb("good")
    publish(publisher(web, replace(ANY, addresses=way)), addresses)
    assert web.queries == [{"hostname": ME, **parameters}]


def test_where_the_provider_decides_its_word_counts() -> None:
    """dy.fi takes the address that the request comes from, a NAT's for example."""
    web = FakeWeb("good 203.0.113.80", "good 203.0.113.81", "good")
    dyfi = publisher(web, SERVICES["dy.fi"])
    assert dyfi.echoes
    assert publish(dyfi) == ("203.0.113.80",)
    # Behind another NAT with the same address of our own; and one that does not say what it took.
    assert [publish(dyfi), publish(dyfi)] == [("203.0.113.81",), ()]


def test_a_list_of_answers() -> None:
    assert publish(publisher(FakeWeb("good 192.0.2.1\nnochg 2001:db8::1")), BOTH) == BOTH
    assert publish(publisher(FakeWeb("good 192.0.2.1,2001:db8::1")), BOTH) == BOTH
    assert refused(publisher(FakeWeb("good 192.0.2.1\nnohost")), BOTH).permanent


def test_a_name_that_expires_is_refreshed() -> None:
    clock = 0.0
    web = FakeWeb("good")
    dyndns2 = publisher(web, replace(ANY, refresh_s=5.5 * DAY_S), now=lambda: clock)
    publish(dyndns2)
    clock = 5 * DAY_S
    publish(dyndns2)
    assert len(web.queries) == 1
    clock = 5.6 * DAY_S
    publish(dyndns2)
    assert len(web.queries) == 2


def test_there_is_nothing_to_withdraw() -> None:
    web = FakeWeb("good")
    trio.run(publisher(web).withdraw, Desired(ME, ()))
    assert web.queries == []


def test_presets() -> None:
    for name, service in SERVICES.items():
        assert service.url.startswith("https://"), name
        assert service.interval_s >= 60
        assert service.refresh_s > DAY_S
    assert SERVICES["no-ip"].refresh_s == math.inf


def test_user_agent() -> None:
    """https://www.noip.com/integrate/request: "Company NameOfProgram/OSVersion-ReleaseVersion contact"."""
    assert user_agent(USER).startswith("vipnet vipnet/Linux-")
    assert user_agent(USER).endswith(f" {USER}")
    assert "@" not in user_agent("me.dy.fi")


def test_on_the_wire() -> None:
    def answer(request: Request) -> Reply:
        return Reply(200, "good 192.0.2.2\r\n")

    async def use(web: HttpClient, url: str, double: Double) -> Request:
        service = replace(SERVICES["no-ip"], url=f"{url}/nic/update")
        await Dyndns2(web, service, USER, SECRET).publish(Desired(ME, V4))
        return double.requests[0]

    request = with_double(answer, "dynupdate.no-ip.com", use)
    assert (request.method, request.path) == ("GET", "/nic/update")
    assert request.query == {"hostname": ME, "myip": V4[0]}
    assert request.headers["user-agent"] == user_agent(USER)
    assert request.headers["authorization"].startswith("Basic ")

from __future__ import annotations

from collections.abc import Callable

import pytest
from tests.publish.doubles import RECORD, DesecDouble
from tests.publish.webdouble import SECRET, Double, Reply, Request, json_reply, with_double

from vipnet.errors import PublishError
from vipnet.names.desired import Desired
from vipnet.publish.desec import Desec
from vipnet.publish.httpclient import HttpClient
from vipnet.publish.secret import Secret
from vipnet.types import Fqdn

ME = Fqdn("laptop.example.dedyn.io")
BOTH, V4 = ("192.0.2.1", "2001:db8::1"), ("192.0.2.2",)


def publish(
    answer: Callable[[Request], Reply],
    *sets: tuple[str, ...],
    token: Secret = SECRET,
    zone: str | None = None,
    name: Fqdn = ME,
) -> Double:
    async def use(web: HttpClient, url: str, double: Double) -> Double:
        desec = Desec(web, token, zone=zone, url=url)
        for addresses in sets:
            desired = Desired(name, addresses, RECORD)
            await (desec.publish(desired) if addresses else desec.withdraw(desired))
        return double

    return with_double(answer, "desec.io", use)


def refused(answer: Callable[[Request], Reply], **how: Secret) -> PublishError:
    with pytest.raises(PublishError) as caught:
        publish(answer, V4, **how)  # type: ignore[arg-type]
    return caught.value


def test_everything_in_one_request() -> None:
    desec = DesecDouble()
    asked = publish(desec, BOTH)
    assert [request.method for request in asked.requests] == ["GET", "PATCH"]
    assert desec.rrsets == {
        ("laptop", "A"): {BOTH[0]},
        ("laptop", "AAAA"): {BOTH[1]},
        ("_vip.laptop", "TXT"): {f'"{RECORD}"'},
    }
    assert desec.ttls["laptop", "A"] == 60, "not less than the domain takes"


def test_the_domain_is_looked_for_once_and_a_family_that_is_gone_is_removed() -> None:
    desec = DesecDouble()
    asked = publish(desec, BOTH, V4)
    assert [request.method for request in asked.requests] == ["GET", "PATCH", "PATCH"]
    assert desec.rrsets["laptop", "A"] == set(V4)
    assert ("laptop", "AAAA") not in desec.rrsets


def test_the_name_of_the_domain_itself() -> None:
    desec = DesecDouble()
    publish(desec, V4, name=Fqdn("example.dedyn.io"), zone="example.dedyn.io")
    assert desec.rrsets.keys() == {("", "A"), ("_vip", "TXT")}


def test_withdrawal() -> None:
    desec = DesecDouble()
    publish(desec, BOTH, ())
    assert desec.rrsets.keys() == {("laptop", "A"), ("laptop", "AAAA")}


def test_a_minimum_that_has_grown_is_learnt() -> None:
    desec = DesecDouble()
    asked = 0

    def grown(request: Request) -> Reply:
        nonlocal asked
        reply = desec(request)
        if request.method == "GET":
            asked += 1
            desec.minimum_ttl = 3600
        return reply

    async def use(web: HttpClient, url: str, double: Double) -> None:
        publisher = Desec(web, SECRET, url=url)
        with pytest.raises(PublishError, match="greater than or equal to 3600"):
            await publisher.publish(Desired(ME, V4))
        await publisher.publish(Desired(ME, V4))

    with_double(grown, "desec.io", use)
    assert asked == 2
    assert desec.ttls["laptop", "A"] == 3600


def test_a_wrong_token_is_for_good() -> None:
    error = refused(DesecDouble(), token=Secret("wrong"))
    assert error.permanent
    assert str(error).startswith('deSEC answers 401, "Invalid token.": check [publish] secret_file')


def test_no_domain_is_for_good() -> None:
    error = refused(DesecDouble("other.dedyn.io"))
    assert error.permanent
    assert "deSEC has no domain for laptop.example.dedyn.io" in str(error)


def test_a_domain_that_is_not_ours_is_not_written_to() -> None:
    error = refused(lambda _: json_reply([{"name": "else.example", "minimum_ttl": 60}]))
    assert error.permanent
    assert "else.example" in str(error)


def test_too_many_changes_wait_as_long_as_it_says() -> None:
    detail = "Request was throttled. Expected available in 48 seconds."
    error = refused(lambda _: json_reply({"detail": detail}, 429, Retry_After="48"))
    assert (error.permanent, error.retry_after_s) == (False, 48)
    assert detail in str(error)


@pytest.mark.parametrize("body", ["[]]", "{}", "[1]", '[{"name": 5}]', '"x"', "[" * 5000])
def test_junk_is_an_error(body: str) -> None:
    refused(lambda _: Reply(200, body))

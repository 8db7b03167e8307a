from __future__ import annotations

from collections.abc import Callable

import pytest
from tests.publish.doubles import RECORD, CloudflareDouble
from tests.publish.webdouble import SECRET, Double, Reply, Request, json_reply, with_double

from vipnet.errors import PublishError
from vipnet.names.desired import Desired
from vipnet.publish.cloudflare import Cloudflare
from vipnet.publish.httpclient import HttpClient
from vipnet.publish.secret import Secret
from vipnet.types import Fqdn

ME = Fqdn("laptop.home.example.org")
BOTH, V4 = ("192.0.2.1", "2001:db8::1"), ("192.0.2.2",)


def publish(
    answer: Callable[[Request], Reply],
    *sets: tuple[str, ...],
    token: Secret = SECRET,
    zone: str | None = None,
) -> Double:
    async def use(web: HttpClient, url: str, double: Double) -> Double:
        cloudflare = Cloudflare(web, token, zone=zone, url=url)
        for addresses in sets:
            desired = Desired(ME, addresses, RECORD)
            await (cloudflare.publish(desired) if addresses else cloudflare.withdraw(desired))
        return double

    return with_double(answer, "api.cloudflare.com", use)


def refused(answer: Callable[[Request], Reply], token: Secret = SECRET) -> PublishError:
    with pytest.raises(PublishError) as caught:
        publish(answer, V4, token=token)
    return caught.value


def test_everything_in_one_batch() -> None:
    double = CloudflareDouble()
    publish(double, BOTH)
    assert double.batches == 1
    assert double.contents(ME, "A") == {BOTH[0]}
    assert double.contents(ME, "AAAA") == {BOTH[1]}
    assert double.contents(f"_vip.{ME}", "TXT") == {f'"{RECORD}"'}
    assert not any(record.get("proxied") for record in double.records)


def test_the_zone_is_found_by_going_up_once() -> None:
    asked = publish(CloudflareDouble(), BOTH, V4)
    zones = [request.query["name"] for request in asked.requests if request.path == "/zones"]
    assert zones == [ME, "home.example.org", "example.org"]


def test_a_zone_that_is_given_is_not_looked_for() -> None:
    asked = publish(CloudflareDouble(), BOTH, zone="example.org")
    zones = [request.query["name"] for request in asked.requests if request.path == "/zones"]
    assert zones == ["example.org"]


def test_records_are_changed_not_added() -> None:
    double = CloudflareDouble()
    double.add(name=ME, type="A", content="192.0.2.66", proxied=True)
    double.add(name=ME, type="A", content="192.0.2.67")
    double.add(name=ME, type="AAAA", content="2001:db8::dead")
    double.add(name=ME, type="MX", content="mail.example.org")
    double.add(name=f"_vip.{ME}", type="TXT", content=str(RECORD))  # as it was once given back
    publish(double, V4)
    assert double.contents(ME, "A") == set(V4)
    assert double.contents(ME, "AAAA") == set()
    assert double.contents(ME, "MX") == {"mail.example.org"}
    assert len(double.records) == 3
    assert not any(record["proxied"] for record in double.records)


def test_what_is_right_already_is_left_alone() -> None:
    double = CloudflareDouble()
    publish(double, BOTH, BOTH)
    assert double.batches == 1


def test_a_proxied_record_is_none_of_ours() -> None:
    double = CloudflareDouble()
    double.add(name=ME, type="A", content=V4[0], proxied=True)
    publish(double, V4)
    assert [record["proxied"] for record in double.records if record["type"] == "A"] == [False]


def test_withdrawal() -> None:
    double = CloudflareDouble()
    publish(double, BOTH, ())
    assert double.contents(ME, "A") == {BOTH[0]}
    assert double.contents(ME, "AAAA") == {BOTH[1]}
    assert double.contents(f"_vip.{ME}", "TXT") == set()


def test_an_alias_is_in_the_way() -> None:
    double = CloudflareDouble()
    double.add(name=ME, type="CNAME", content="elsewhere.example.org")
    error = refused(double)
    assert error.permanent
    assert "CNAME" in str(error)


def test_a_wrong_token_is_for_good() -> None:
    error = refused(CloudflareDouble(), Secret("wrong"))
    assert error.permanent
    assert str(error).startswith('Cloudflare answers 401, "10000: Authentication error": check [publish]')


def test_a_token_that_sees_no_zone_is_for_good() -> None:
    error = refused(CloudflareDouble("other.example"))
    assert error.permanent
    assert "no zone for laptop.home.example.org" in str(error)


def test_too_many_requests() -> None:
    """https://developers.cloudflare.com/fundamentals/api/reference/limits/."""
    body = {"success": False, "errors": [{"code": 971, "message": "Please wait and consider throttling"}]}
    error = refused(lambda _: json_reply(body, 429, retry_after="37"))
    assert (error.permanent, error.retry_after_s) == (False, 37)


@pytest.mark.parametrize(
    "result", [[{"id": "../../x"}], [{"id": 5}], [[]], "x", None, {"id": "x"}, [{"id": "x/y?z"}]]
)
def test_a_zone_id_that_is_none_goes_into_no_url(result: object) -> None:
    error = refused(lambda _: json_reply({"success": True, "result": result}))
    assert "no zone" in str(error)


@pytest.mark.parametrize("result", [5, "x", {"a": 1}, [5], [{"type": "A", "name": ME}]])
def test_junk_for_records_is_an_error(result: object) -> None:
    double = CloudflareDouble()

    def junk(request: Request) -> Reply:
        if request.path.endswith("dns_records"):
            return json_reply({"success": True, "result": result})
        return double(request)

    refused(junk)

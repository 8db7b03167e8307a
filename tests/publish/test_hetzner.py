from __future__ import annotations

from collections.abc import Callable

import pytest
from tests.publish.doubles import RECORD, HetznerDouble
from tests.publish.webdouble import SECRET, Double, Reply, Request, with_double

from vipnet.errors import PublishError
from vipnet.names.desired import Desired
from vipnet.publish import hetzner
from vipnet.publish.hetzner import Hetzner
from vipnet.publish.httpclient import HttpClient
from vipnet.publish.secret import Secret
from vipnet.types import Fqdn

ME = Fqdn("laptop.example.org")
BOTH, V4 = ("192.0.2.1", "2001:db8::1"), ("192.0.2.2",)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hetzner, "_POLL_S", 0.01)


def publish(
    answer: Callable[[Request], Reply],
    *sets: tuple[str, ...],
    token: Secret = SECRET,
    name: Fqdn = ME,
    ttl_s: int = 5,
) -> Double:
    async def use(web: HttpClient, url: str, double: Double) -> Double:
        publisher = Hetzner(web, token, url=url)
        for addresses in sets:
            desired = Desired(name, addresses, RECORD, ttl_s)
            await (publisher.publish(desired) if addresses else publisher.withdraw(desired))
        return double

    return with_double(answer, "api.hetzner.cloud", use)


def refused(answer: Callable[[Request], Reply], token: Secret = SECRET) -> PublishError:
    with pytest.raises(PublishError) as caught:
        publish(answer, V4, token=token)
    return caught.value


@pytest.mark.parametrize("slow", [False, True])
def test_everything_is_created(slow: bool) -> None:
    double = HetznerDouble(slow=slow)
    asked = publish(double, BOTH)
    assert double.rrsets == {
        ("laptop", "A"): {BOTH[0]},
        ("laptop", "AAAA"): {BOTH[1]},
        ("_vip.laptop", "TXT"): {f'"{RECORD}"'},
    }
    assert double.ttls["laptop", "A"] == 60
    polled = [request for request in asked.requests if "/zones/actions/" in request.path]
    assert len(polled) == (3 if slow else 0)


def test_a_move_changes_what_is_there() -> None:
    double = HetznerDouble()
    asked = publish(double, BOTH, V4)
    assert double.rrsets["laptop", "A"] == set(V4)
    assert ("laptop", "AAAA") not in double.rrsets
    changed = [request.path for request in asked.requests if request.method != "GET"]
    assert changed[3:] == [
        "/zones/example.org/rrsets/laptop/A/actions/set_records",
        "/zones/example.org/rrsets/laptop/AAAA",
    ]


def test_what_is_right_already_is_left_alone_but_for_its_ttl() -> None:
    double = HetznerDouble()
    publish(double, V4)
    asked = publish(double, V4, ttl_s=120)
    assert [request.path for request in asked.requests if request.method != "GET"] == [
        "/zones/example.org/rrsets/laptop/A/actions/change_ttl"
    ]
    assert double.ttls["laptop", "A"] == 120


def test_the_name_of_the_zone_itself() -> None:
    double = HetznerDouble()
    publish(double, V4, name=Fqdn("example.org"))
    assert double.rrsets.keys() == {("@", "A"), ("_vip", "TXT")}


def test_withdrawal() -> None:
    double = HetznerDouble()
    publish(double, BOTH, ())
    assert double.rrsets.keys() == {("laptop", "A"), ("laptop", "AAAA")}


def test_a_wrong_token_is_for_good() -> None:
    error = refused(HetznerDouble(), Secret("wrong"))
    assert error.permanent
    assert str(error).startswith('Hetzner answers 401, "unauthorized: unable to authenticate": check')


def test_no_zone_is_for_good() -> None:
    error = refused(HetznerDouble("other.example"))
    assert error.permanent
    assert "no zone for laptop.example.org" in str(error)


@pytest.mark.parametrize(
    ("error", "permanent"),
    [
        ((403, "forbidden", "insufficient permissions"), True),
        ((409, "conflict", "the resource was changed during the request"), False),
        ((422, "incorrect_zone_mode", "zone is secondary"), True),
        ((423, "locked", "the item is locked"), False),
        ((403, "protected", "the rrset is protected"), True),
        ((429, "rate_limit_exceeded", "limit of 3600 requests per hour reached"), False),
        ((503, "unavailable", "try later"), False),
    ],
)
def test_documented_errors(error: tuple[int, str, str], permanent: bool) -> None:
    double = HetznerDouble()
    double.error = error
    caught = refused(double)
    assert caught.permanent is permanent
    assert error[2] in str(caught)


def test_an_action_that_fails_and_one_that_does_not_end(monkeypatch: pytest.MonkeyPatch) -> None:
    double = HetznerDouble(slow=True)
    double.action_status = "error"
    assert "Action failed" in str(refused(double))
    monkeypatch.setattr(hetzner, "ACTION_S", 0.05)
    double = HetznerDouble(slow=True)
    double.action_status = "running"
    assert "does not come to an end" in str(refused(double))


@pytest.mark.parametrize("body", ["", "[]", '{"action": {"status": "running"}}', '{"action": 5}'])
def test_junk_is_an_error(body: str) -> None:
    double = HetznerDouble()
    double.rrsets["laptop", "AAAA"], double.ttls["laptop", "AAAA"] = {"2001:db8::1"}, 60
    refused(lambda request: Reply(200, body) if request.path.endswith("AAAA") else double(request))
    refused(lambda request: Reply(201, body) if request.method == "POST" else double(request))

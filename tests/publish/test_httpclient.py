"""The HTTP client against a TLS server that is slow, wrong, hostile or somebody else."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trio
from tests.publish.webdouble import NOON, SECRET, Double, Reply, Request, authority, serving, with_double

from vipnet.errors import ConfigError, LookupFailedError, PublishError
from vipnet.publish.httpclient import BODY_MAX, HttpClient, trusting
from vipnet.publish.web import Answer, refusal, retry_after_s

NAME = "api.provider.test"


def fetch(answer: Callable[[Request], Reply], **request: object) -> tuple[Answer, Request]:
    async def use(web: HttpClient, url: str, double: Double) -> tuple[Answer, Request]:
        got = await web("GET", f"{url}/path", **request)  # type: ignore[arg-type]
        return got, double.requests[0]

    return with_double(answer, NAME, use)


def failure(answer: Callable[[Request], Reply], *, certified: str = "") -> PublishError:
    async def use(web: HttpClient, url: str, double: Double) -> PublishError:
        with pytest.raises(PublishError) as caught:
            await web("GET", f"{url}/path")
        return caught.value

    return with_double(answer, NAME, use, certified=certified)


def test_a_request_says_what_it_should() -> None:
    got, request = fetch(lambda _: Reply(200, "fine"), query={"a": "1 2"}, basic=("me", "x"), body={"k": [1]})
    assert got == Answer(200, "fine")
    assert (request.path, request.query, request.json()) == ("/path", {"a": "1 2"}, {"k": [1]})
    assert request.headers["host"].startswith(f"{NAME}:")
    assert request.headers["user-agent"].startswith("vipnet/")
    assert request.headers["authorization"] == "Basic bWU6eA=="


def test_the_certificate_of_another_is_refused() -> None:
    error = failure(lambda _: Reply(), certified="other.test")
    assert "certificate" in str(error)
    assert error.unsent
    assert not error.permanent, "a captive portal: it may pass"


def test_redirects_are_not_followed() -> None:
    got, _ = fetch(lambda _: Reply(302, "", (("Location", "http://portal.test/"),)))
    assert got.status == 302
    error = refusal("X", got)
    assert not error.permanent
    assert "captive portal" in str(error)


def test_an_endless_body_is_cut() -> None:
    got, _ = fetch(lambda _: Reply(200, b"x" * 3_000_000))
    assert len(got.text) == BODY_MAX


def test_the_secret_does_not_come_back() -> None:
    word = SECRET.reveal()
    got, _ = fetch(lambda _: Reply(400, f"no such token: {word} pass%20word%2F%2Btoken%261"))
    assert got.text == "no such token: *** ***"
    got, _ = fetch(lambda r: Reply(401, f"bad: {r.headers['authorization']}!"), basic=("me", word))
    assert got.text == "bad: Basic ***!"
    assert word not in f"{SECRET} {SECRET!r}"


def test_what_is_no_http_is_an_error() -> None:
    async def main() -> None:
        async def serve(stream: trio.SocketStream) -> None:
            await stream.send_all(b"SSH-2.0-OpenSSH_9\r\n")

        async with trio.open_nursery() as nursery:
            listeners = await nursery.start(trio.serve_tcp, serve, 0)
            port = listeners[0].socket.getsockname()[1]
            client = HttpClient(nowhere, SECRET, trusting(None))
            with pytest.raises(PublishError, match=r"127\.0\.0\.1"):
                await client("GET", f"http://127.0.0.1:{port}/")
            nursery.cancel_scope.cancel()

    trio.run(main)


async def nowhere(host: str) -> tuple[str, ...]:
    raise LookupFailedError("no resolver answers")


def test_a_name_that_is_not_found_and_a_port_that_is_closed_were_not_sent() -> None:
    async def fails(url: str, words: str) -> None:
        with pytest.raises(PublishError, match=words) as caught:
            await HttpClient(nowhere, SECRET, trusting(None))("GET", url)
        assert caught.value.unsent

    trio.run(fails, "https://api.provider.test/", "no resolver answers")
    trio.run(fails, "http://127.0.0.1:1/", "cannot be reached")


def test_the_next_address_is_tried() -> None:
    async def main() -> None:
        async with serving(lambda _: Reply(200, "here"), NAME) as (web, url, _):

            async def resolve(host: str) -> tuple[str, ...]:
                return ("127.0.0.2", "127.0.0.1")  # the server listens at the second alone

            web._resolve = resolve
            assert (await web("GET", url)).text == "here"

    trio.run(main)


async def silent(stream: trio.SocketStream) -> None:
    await trio.sleep_forever()


def test_a_server_that_does_not_answer_has_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vipnet.publish.httpclient.EXCHANGE_S", 0.2)

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            listeners = await nursery.start(trio.serve_tcp, silent, 0)
            port = listeners[0].socket.getsockname()[1]
            client = HttpClient(nowhere, SECRET, trusting(None))
            with pytest.raises(PublishError) as caught:
                await client("GET", f"http://127.0.0.1:{port}/")
            assert not caught.value.unsent
            nursery.cancel_scope.cancel()

    trio.run(main)


def test_no_url_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    logging.getLogger("vipnet").setLevel(logging.DEBUG)
    fetch(lambda _: Reply(200, "OK"), query={"token": SECRET.reveal()}, basic=("me", SECRET.reveal()))
    assert not [record for record in caplog.records if record.name.startswith("http")]
    assert SECRET.reveal() not in caplog.text
    assert "word%2F" not in caplog.text


@pytest.mark.parametrize(
    ("field", "seconds"),
    [
        (None, 0),
        ("120", 120),
        (" 7 ", 7),
        ("Fri, 15 Jan 2027 08:01:00 GMT", 60),
        ("Fri, 15 Jan 2027 07:00:00 GMT", 0),
        ("99999999999999999999", 86_400),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 86_400),
        ("-5", 0),
        ("soon", 0),
        ("", 0),
        ("٣", 0),
    ],
)
def test_retry_after(field: str | None, seconds: float) -> None:
    """RFC 9110 section 10.2.3: seconds or a date. NOON is 2027-01-15 08:00:00 UTC."""
    assert retry_after_s(field, NOON) == seconds


@pytest.mark.parametrize(
    ("field", "told"), [("Fri, 15 Jan 2027 08:01:00 GMT", [NOON + 60]), ("soon", []), (None, [])]
)
def test_the_time_that_a_provider_has_is_passed_on(field: str | None, told: list[float]) -> None:
    heard: list[float] = []
    headers = () if field is None else (("Date", field),)

    async def main() -> None:
        async with serving(lambda _: Reply(200, "", headers), NAME, told_time=heard.append) as (web, url, _):
            await web("GET", url)

    trio.run(main)
    assert heard == told


def test_a_certificate_that_begins_in_the_future_is_blamed_on_the_clock() -> None:
    tomorrow = datetime.now(tz=UTC) + timedelta(days=1)

    async def main() -> None:
        async with serving(lambda _: Reply(), NAME, valid_from=tomorrow) as (web, url, _):
            with pytest.raises(PublishError, match="set this host's clock") as caught:
                await web("GET", url)
        assert caught.value.clock
        assert caught.value.unsent
        assert not caught.value.permanent

    trio.run(main)


def test_retry_after_reaches_the_error() -> None:
    got, _ = fetch(lambda _: Reply(429, "slow down", (("Retry-After", "30"),)))
    error = refusal("X", got)
    assert (error.retry_after_s, error.permanent) == (30, False)
    assert str(error) == 'X answers 429, "slow down"'


@pytest.mark.parametrize(
    ("status", "permanent"),
    [(200, False), (400, True), (401, True), (403, True), (404, True), (408, False), (409, False),
     (422, True), (423, False), (429, False), (500, False), (503, False)],
)  # fmt: skip
def test_what_a_status_means(status: int, permanent: bool) -> None:
    assert refusal("X", Answer(status, "words")).permanent is permanent


def test_words_of_a_stranger_are_one_short_line() -> None:
    error = refusal("X", Answer(400, "a\n\x1b[31mb\r\n" + "c" * 9999))
    assert "\n" not in str(error)
    assert "\x1b" not in str(error)
    assert len(str(error)) < 250


def test_certificates_to_trust(tmp_path: Path) -> None:
    pem = tmp_path / "ca.pem"
    authority().cert_pem.write_to_path(pem)
    assert len(trusting(pem).get_ca_certs()) == 1
    pem.write_text("nothing")
    for path in (pem, tmp_path / "missing"):
        with pytest.raises(ConfigError, match="ca_file"):
            trusting(path)

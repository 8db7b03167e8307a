"""Whom the doctor asks: the zone's servers each by itself, ourselves, and the provider's clock."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import dns.rcode
import pytest
import trio
from tests.app.doctor.healthy import DAEMON
from tests.fakedns import FakeDns

from vipnet.app.config import Config, Dns, load_config
from vipnet.app.doctor import dnslook, dnsprobe
from vipnet.app.doctor.dnsprobe import http_clock
from vipnet.app.doctor.facts import DaemonStatus, DnsFacts
from vipnet.app.publishconfig import Publish
from vipnet.types import Fqdn

NAME = Fqdn("a.vipip.test")


@contextmanager
def web_server(date: str | None) -> Iterator[str]:
    """A server whose clock says DATE; yields its URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            assert self.path == "/", "nothing of ours is sent there"
            assert "authorization" not in self.headers
            self.send_response_only(404)
            if date is not None:
                self.send_header("Date", date)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/update?token=secret"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_the_clock_of_a_provider() -> None:
    there = time.time() - 1000
    date = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(there))
    with web_server(date) as url:
        found = trio.run(http_clock, url, dnslook._date_of)
    assert found is not None
    assert found.name == "the clock of 127.0.0.1"
    assert abs(found.offset_s - 1000) < 30
    with web_server(None) as url:
        assert trio.run(http_clock, url, dnslook._date_of) is None
    assert trio.run(http_clock, url, dnslook._date_of) is None, "nobody listens there any more"


@pytest.mark.parametrize(
    ("publish", "url"),
    [
        ('provider = "desec"\nsecret_file = "/s"', "https://desec.io/api/v1"),
        ('provider = "cloudflare"\nsecret_file = "/s"', "https://api.cloudflare.com/client/v4"),
        (
            'provider = "desec"\nsecret_file = "/s"\nurl = "https://own.example/api"',
            "https://own.example/api",
        ),
        ('provider = "dyndns2"\nsecret_file = "/s"\nuser = "u"\nservice = "dynu"', "https://api.dynu.com"),
        ('provider = "hook"\ncommand = ["/bin/true"]', None),
        ('provider = "none"', None),
    ],
)
def test_which_provider_has_a_clock(publish: str, url: str | None, tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text(f'name = "{NAME}"\n[publish]\n{publish}\n')
    found = dnslook._provider_url(load_config(path))
    assert found == url or (url is not None and found is not None and found.startswith(url))


def look(
    upstream: FakeDns, monkeypatch: pytest.MonkeyPatch, *, daemon: DaemonStatus | None = None
) -> DnsFacts:
    """Ask with UPSTREAM as the network's resolver, and the zone's only server."""
    monkeypatch.setattr(dnsprobe, "WAIT_S", 0.3)
    found: list[DnsFacts] = []

    async def main() -> None:
        async with upstream.serve() as server:
            config = Config(
                NAME,
                dns=Dns(upstreams=(server.address,)),
                publish=Publish(),
                key_file=Path("/none"),
            )
            found.append(await dnslook.look_at_dns(config, daemon, ()))

    trio.run(main)
    return found[0]


def test_what_the_networks_resolver_says(monkeypatch: pytest.MonkeyPatch) -> None:
    found = look(FakeDns({f"{NAME} A": ["10.0.0.5"]}), monkeypatch)
    assert found.upstream is not None
    assert found.upstream.addresses == ("10.0.0.5",)
    assert found.zone_problem is not None, "nobody says which servers the zone has"
    assert (found.servers, found.listener, found.tsig, found.clocks) == ((), None, None, ())


def test_a_resolver_that_refuses_all(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeDns()
    fake.rcodes = dict.fromkeys(("A", "AAAA", "TXT", "SOA", "NS"), dns.rcode.REFUSED)
    found = look(fake, monkeypatch)
    assert found.upstream is not None
    assert "REFUSED" in (found.upstream.problem or "")


def test_without_a_resolver_nothing_is_asked() -> None:
    async def main() -> DnsFacts:
        return await dnslook.look_at_dns(Config(NAME), None, ())

    found = trio.run(main)
    assert (found.upstreams, found.upstream, found.servers) == ((), None, ())


def test_resolv_conf_with_our_address_first_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dnslook, "_first_servers", lambda: ["127.0.0.47"])
    found = look(FakeDns({f"{NAME} A": ["10.0.0.5"]}), monkeypatch, daemon=DAEMON)
    assert found.listener is not None
    assert found.listener.problem is not None, "nobody is there"
    assert found.first_server is found.listener

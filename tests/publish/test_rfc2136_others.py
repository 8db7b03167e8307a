"""Updates against Knot and PowerDNS: what tests/publish/test_rfc2136.py shows of BIND."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
import trio
from tests.bind import Bind, tsig_key
from tests.otherservers import KEY, running_knot, running_powerdns
from tests.publish.test_rfc2136 import RECORD, Wire, check_replays, publisher, refused

from vipnet.names.desired import Desired
from vipnet.types import Fqdn

pytestmark = pytest.mark.stack

A = Fqdn(KEY)
Running = Callable[[Path], AbstractContextManager[Bind]]


@pytest.fixture(params=[running_knot, running_powerdns], ids=["knot", "powerdns"])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bind]:
    running: Running = request.param
    with running(tmp_path / "server") as there:
        yield there


def addresses(server: Bind) -> set[str]:
    return server.texts(A, "A") | server.texts(A, "AAAA")


def test_first_update_move_and_withdrawal(server: Bind) -> None:
    async def main() -> None:
        ask = Wire()
        rfc2136 = publisher(server, ask)
        await rfc2136.publish(Desired(A, ("192.0.2.1", "2001:db8::1"), RECORD))
        assert addresses(server) == {"192.0.2.1", "2001:db8::1"}
        assert server.texts(f"_vip.{A}", "TXT") == {f'"{RECORD}"'}
        ask.sent.clear()
        await rfc2136.publish(Desired(A, ("192.0.2.2",), RECORD))
        assert len(ask.sent) == 1
        assert addresses(server) == {"192.0.2.2"}
        await rfc2136.withdraw(Desired(A, ()))
        assert addresses(server) == {"192.0.2.2"}
        assert server.texts(f"_vip.{A}", "TXT") == set()

    trio.run(main)


def test_an_old_update_replayed_a_minute_later_changes_nothing(
    server: Bind, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_replays(server, monkeypatch)


def test_a_restarted_host_and_another_writer(server: Bind) -> None:
    async def main() -> None:
        first, second = publisher(server, Wire()), publisher(server, Wire())
        await first.publish(Desired(A, ("192.0.2.1",), RECORD))
        await second.publish(Desired(A, ("192.0.2.2",), RECORD))
        await first.publish(Desired(A, ("192.0.2.3",), RECORD))

    trio.run(main)
    assert addresses(server) == {"192.0.2.3"}


def test_refusals_are_for_good(server: Bind) -> None:
    wrong = tsig_key(KEY, base64.b64encode(b"another secret of thirty-two byte").decode())
    for key in (wrong, tsig_key("nobody.vipip.test")):
        error = refused(server, key, name=A)
        assert error.permanent, error
        assert str(server.server) in str(error)
    assert addresses(server) == set()

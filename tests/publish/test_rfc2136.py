"""Updates against a real BIND, and with an `ask` that loses, repeats and forges."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import dns.rcode
import dns.tsig
import dns.update
import pytest
import trio
from tests.bind import Bind, running_bind, tsig_key

from vipnet.errors import LookupFailedError, PublishError
from vipnet.names.desired import Desired, Primary
from vipnet.names.records import CapabilityRecord
from vipnet.publish.rfc2136 import Rfc2136
from vipnet.system.lookup import Lookup
from vipnet.types import Fqdn, Locator, PublicKey

A = Fqdn("a.vipip.test")
RECORD = CapabilityRecord(PublicKey(bytes(range(32))), 5847)
NOON = 1_800_000_000


@pytest.fixture
def bind(tmp_path: Path) -> Iterator[Bind]:
    with running_bind(tmp_path / "named") as server:
        yield server


class Wire:
    """Asks for real, and keeps what was sent."""

    def __init__(self) -> None:
        self.sent: list[tuple[bytes, bool]] = []
        self._lookup = Lookup(lambda: ())

    async def __call__(
        self,
        query: bytes,
        server: Locator,
        *,
        tcp: bool,
        accept: Callable[[bytes], bool] | None,
        timeout_s: float,
    ) -> bytes:
        self.sent.append((query, tcp))
        return await self._lookup.ask(query, server, tcp=tcp, accept=accept, timeout_s=timeout_s)

    def updates(self) -> list[bytes]:
        return [wire for wire, _ in self.sent if wire[2] >> 3 & 0xF == 5]


def publisher(bind: Bind, ask: Wire, key: dns.tsig.Key | None = None, *, zone: str = "") -> Rfc2136:
    async def primary() -> Primary:
        return Primary(zone or bind.zone, (bind.server,))

    return Rfc2136(ask, primary, key or tsig_key(A), now=lambda: NOON)


def refused(bind: Bind, key: dns.tsig.Key, *, name: Fqdn = A, zone: str = "") -> PublishError:
    with pytest.raises(PublishError) as caught:
        trio.run(publisher(bind, Wire(), key, zone=zone).publish, Desired(name, ("192.0.2.1",)))
    assert "\n" not in str(caught.value)
    return caught.value


def test_first_update_writes_everything(bind: Bind) -> None:
    trio.run(publisher(bind, Wire()).publish, Desired(A, ("192.0.2.1", "2001:db8::1"), RECORD))
    assert bind.texts(A, "A") == {"192.0.2.1"}
    assert bind.texts(A, "AAAA") == {"2001:db8::1"}
    assert bind.texts(f"_vip.{A}", "TXT") == {f'"{RECORD}"'}
    assert bind.texts(f"_seq._vip.{A}", "TXT") == {f'"seq={NOON}"'}


def test_a_move_costs_one_round_trip(bind: Bind) -> None:
    async def main() -> None:
        ask = Wire()
        rfc2136 = publisher(bind, ask)
        await rfc2136.publish(Desired(A, ("192.0.2.1", "2001:db8::1"), RECORD))
        ask.sent.clear()
        await rfc2136.publish(Desired(A, ("192.0.2.2",), RECORD))
        assert len(ask.sent) == 1

    trio.run(main)
    assert bind.texts(A, "A") == {"192.0.2.2"}
    assert bind.texts(A, "AAAA") == set()
    assert bind.texts(f"_vip.{A}", "TXT") == {f'"{RECORD}"'}
    assert bind.texts(f"_seq._vip.{A}", "TXT") == {f'"seq={NOON + 1}"'}


def check_replays(server: Bind, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever has recorded updates sends them again a minute later: TSIG alone would let them (RFC 8945
    section 10 leaves 300 s), and does where an update has no marker.
    """
    real = time.time
    address = iter(range(1, 255))

    async def publish(times: int) -> list[bytes]:
        ask = Wire()
        rfc2136 = publisher(server, ask)
        for _ in range(times):
            await rfc2136.publish(Desired(A, (f"192.0.2.{next(address)}",), RECORD))
        return ask.updates()

    with monkeypatch.context() as a_minute_ago:
        a_minute_ago.setattr(time, "time", lambda: real() - 60)
        bare = dns.update.UpdateMessage(server.zone, keyring=tsig_key(A))
        bare.replace(f"{A}.", 5, "A", "192.0.2.66")
        unprotected = bare.to_wire()
        captured = trio.run(publish, 3)
    assert len(captured) == 3
    for wire in captured:
        assert server.send(wire)[3] & 0xF in (dns.rcode.NXRRSET, dns.rcode.YXRRSET)
        assert server.texts(A, "A") == {"192.0.2.3"}
    assert server.send(unprotected)[3] & 0xF == dns.rcode.NOERROR
    assert server.texts(A, "A") == {"192.0.2.66"}
    trio.run(publish, 1)
    assert server.texts(A, "A") == {"192.0.2.4"}


def test_an_old_update_replayed_a_minute_later_changes_nothing(
    bind: Bind, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_replays(bind, monkeypatch)


def test_replay_after_withdrawal_changes_nothing(bind: Bind) -> None:
    async def main() -> list[bytes]:
        ask = Wire()
        rfc2136 = publisher(bind, ask)
        await rfc2136.publish(Desired(A, ("192.0.2.1", "2001:db8::1"), RECORD))
        await rfc2136.withdraw(Desired(A, ()))
        return ask.updates()

    captured = trio.run(main)
    # What is left is a host without vipnet.
    assert bind.texts(A, "A") | bind.texts(A, "AAAA") == {"192.0.2.1", "2001:db8::1"}
    assert bind.texts(f"_seq._vip.{A}", "TXT") == {f'"seq={NOON + 1}"'}
    assert bind.send(captured[0])[3] & 0xF == dns.rcode.YXRRSET
    assert bind.texts(f"_vip.{A}", "TXT") == set()


def test_a_restarted_host_goes_on_from_the_marker(bind: Bind) -> None:
    for address in ("192.0.2.1", "192.0.2.2"):
        trio.run(publisher(bind, Wire()).publish, Desired(A, (address,), RECORD))
    assert bind.texts(A, "A") == {"192.0.2.2"}
    assert bind.texts(f"_seq._vip.{A}", "TXT") == {f'"seq={NOON + 1}"'}


def test_another_writer_is_noticed_and_overridden(bind: Bind) -> None:
    async def main() -> None:
        mine, other = publisher(bind, Wire()), publisher(bind, Wire())
        await mine.publish(Desired(A, ("192.0.2.1",), RECORD))
        await other.publish(Desired(A, ("192.0.2.9",), RECORD))
        await mine.publish(Desired(A, ("192.0.2.2",), RECORD))

    trio.run(main)
    assert bind.texts(A, "A") == {"192.0.2.2"}
    assert bind.texts(f"_seq._vip.{A}", "TXT") == {f'"seq={NOON + 2}"'}


def test_lost_answer_is_found_out_by_reading(bind: Bind) -> None:
    """The update is applied, its answer lost: the repetition over TCP fails its prerequisite."""

    class LosesUpdateAnswers(Wire):
        async def __call__(self, query: bytes, server: Locator, **how: object) -> bytes:
            reply = await super().__call__(query, server, **how)  # type: ignore[arg-type]
            if query[2] >> 3 & 0xF == 5 and not how["tcp"]:
                raise LookupFailedError("answer lost")
            return reply

    ask = LosesUpdateAnswers()
    trio.run(publisher(bind, ask).publish, Desired(A, ("192.0.2.1",), RECORD))
    assert len(ask.updates()) == 2
    assert bind.texts(A, "A") == {"192.0.2.1"}
    assert bind.texts(f"_seq._vip.{A}", "TXT") == {f'"seq={NOON}"'}


@pytest.mark.parametrize("algorithm", ["hmac-sha256", "hmac-sha384", "hmac-sha512"])
def test_algorithms(tmp_path: Path, algorithm: str) -> None:
    with running_bind(tmp_path / "named", algorithm=algorithm) as bind:
        trio.run(
            publisher(bind, Wire(), tsig_key(A, algorithm=algorithm)).publish,
            Desired(A, ("192.0.2.1",), RECORD),
        )
        assert bind.texts(A, "A") == {"192.0.2.1"}


def test_a_server_with_ipv6_alone(tmp_path: Path) -> None:
    with running_bind(tmp_path / "named", host="::1") as bind:
        trio.run(publisher(bind, Wire()).publish, Desired(A, ("192.0.2.1", "2001:db8::1"), RECORD))
        assert bind.texts(A, "AAAA") == {"2001:db8::1"}


def test_where_only_tcp_gets_through(bind: Bind) -> None:
    """Datagrams are eaten without a word."""

    class WithoutUdp(Wire):
        async def __call__(self, query: bytes, server: Locator, **how: object) -> bytes:
            if not how["tcp"]:
                self.sent.append((query, False))
                await trio.sleep_forever()
            return await super().__call__(query, server, **how)  # type: ignore[arg-type]

    ask = WithoutUdp()
    trio.run(publisher(bind, ask).publish, Desired(A, ("192.0.2.1",), RECORD))
    assert {tcp for _, tcp in ask.sent} == {False, True}
    assert bind.texts(A, "A") == {"192.0.2.1"}


def test_wrong_secret(bind: Bind) -> None:
    error = refused(bind, tsig_key(A, base64.b64encode(b"another secret of thirty-two byte").decode()))
    assert error.permanent
    assert str(error) == (
        f"{bind.server} finds the signature wrong (BADSIG): "
        "[publish] key_secret_file does not hold the secret that the server has for a.vipip.test"
    )


def test_unknown_key(bind: Bind) -> None:
    error = refused(bind, tsig_key("nobody.vipip.test"))
    assert error.permanent
    assert str(error).startswith(f"{bind.server} does not know the key nobody.vipip.test (BADKEY): check")


def test_key_that_may_not(bind: Bind) -> None:
    error = refused(bind, tsig_key("b.vipip.test"))
    assert error.permanent
    assert str(error).startswith(f"{bind.server} refuses to let b.vipip.test change a.vipip.test (REFUSED")
    assert "update-policy { grant b.vipip.test subdomain a.vipip.test A AAAA TXT; };" in str(error)


def test_zone_that_is_not_there(bind: Bind) -> None:
    error = refused(bind, tsig_key(A), name=Fqdn("a.elsewhere.test"), zone="elsewhere.test")
    assert error.permanent
    assert "elsewhere.test" in str(error)


def test_wrong_clock(bind: Bind, monkeypatch: pytest.MonkeyPatch) -> None:
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() - 3600)
    error = refused(bind, tsig_key(A))
    assert error.clock
    assert not error.permanent
    assert "BADTIME" in str(error)


def test_alias_in_the_way(tmp_path: Path) -> None:
    with running_bind(tmp_path / "named", records="a CNAME ns") as bind:
        error = refused(bind, tsig_key(A))
    assert error.permanent
    assert "CNAME" in str(error)


def test_foreign_marker_in_the_way(tmp_path: Path) -> None:
    with running_bind(tmp_path / "named", records='_seq._vip.a TXT "mine"') as bind:
        error = refused(bind, tsig_key(A))
        assert error.permanent
        assert str(error) == "_seq._vip.a.vipip.test holds something that is not ours: delete that record"
        assert bind.texts(A, "A") == set()


def test_no_server_answers() -> None:
    ask = Wire()
    bind = Bind(Path(), "vipip.test", Locator("127.0.0.1", 1))
    with pytest.raises(PublishError) as caught:
        trio.run(publisher(bind, ask).publish, Desired(A, ("192.0.2.1",)))
    assert not caught.value.permanent
    assert "127.0.0.1:1" in str(caught.value)

"""What `vipnet trust` and `vipnet key rotate` do in the daemon: whole engines on a wire in memory."""

from __future__ import annotations

import os
from base64 import b64encode
from collections.abc import Awaitable, Callable
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any, cast

import pytest
import trio
import trio.testing
from tests.fakes import FakeSockets, FakeTun, FakeWire

from vipnet.app.config import Config, PeerConfig
from vipnet.app.engine import Engine
from vipnet.app.keys import create_key, load_key
from vipnet.app.publishing import PublishLoop
from vipnet.app.trusting import TrustOperations
from vipnet.core.host import Host
from vipnet.core.node import Node
from vipnet.core.outputs import LookupResult
from vipnet.core.tokens import TokenSpace
from vipnet.core.trust import AcceptPolicy
from vipnet.crypto.noise import public_key
from vipnet.errors import ConfigError, HostError, LookupFailedError, UnreachableError
from vipnet.policy import Policy
from vipnet.system.lookup import Lookup
from vipnet.system.store import Store
from vipnet.types import Fqdn, Instant, Locator, PublicKey, fingerprint

A, B = Fqdn("a.vipip.test"), Fqdn("b.vipip.test")
AT = {A: Locator("192.0.2.1", 5847), B: Locator("192.0.2.2", 5847)}
SOME = PublicKey(public_key(b"k" * 32))


class DeadDns:
    """A Lookup that knows nothing, or that somebody has deceived."""

    bogus: str | None = None

    async def lookup(self, name: Fqdn, *, authoritative: bool, verify: bool = False) -> LookupResult:
        return LookupResult(name, failed=True, bogus=self.bogus)

    async def addresses(self, name: str) -> tuple[str, ...]:
        return (AT[Fqdn(name)].host,)

    async def servers(self, name: Fqdn) -> tuple[Locator, ...]:
        raise LookupFailedError("no DNS here")


def now() -> Instant:
    return Instant(trio.current_time())


class Machine:
    """A host that has a key file and a store."""

    def __init__(
        self, wire: FakeWire, directory: Path, name: Fqdn, peers: tuple[PeerConfig, ...] = ()
    ) -> None:
        directory.mkdir()
        self.config = Config(name=name, key_file=directory / "key", peers=peers)
        create_key(self.config.key_file)
        self.store = Store(directory / "state.db")
        self.republished, self.writes_record = 0, True
        self.tun = FakeTun()
        lookup = cast("Lookup", DeadDns())
        host = Host(
            name,
            load_key(self.config.key_file),
            policy=Policy(),
            space=TokenSpace(IPv4Network("240.0.0.0/4")),
            accept=AcceptPolicy(("*.vipip.test",), xx=True),
            random_bytes=os.urandom,
            unix_us=lambda: int(now() * 1e6),
            clock=self.store.load().clock,
        )
        host.space.choose_own(name, host.unix_s)
        self.engine = Engine(
            Node(host, self.store.load()),
            tun=self.tun,
            sockets=FakeSockets(wire, AT[name]),
            store=self.store,
            lookup=lookup,
            use_local_token=lambda local, remote: None,
            now=now,
        )
        publishing = cast("PublishLoop", self)
        operations = TrustOperations(self.config, engine=self.engine, lookup=lookup, publishing=publishing)
        self._handlers = operations.handlers

    def renew(self) -> None:
        """What of PublishLoop is needed here."""
        self.republished += 1

    @property
    def key(self) -> PublicKey:
        return self.engine.node.host.public_key

    async def do(self, op: str, **params: object) -> Any:
        return await self._handlers[op](params)

    async def run(self, task_status: trio.TaskStatus[None]) -> None:
        async with trio.open_nursery() as nursery:
            await nursery.start(self.engine.run)
            locators = (AT[self.config.name],)
            self.engine.emit(self.engine.node.handle_locators(locators, "start", now()))
            task_status.started()


def text(key: PublicKey) -> str:
    return b64encode(key).decode()


def with_machines(
    tmp_path: Path, main: Callable[[Machine, Machine], Awaitable[None]], peers: tuple[PeerConfig, ...] = ()
) -> None:
    async def everything() -> None:
        wire = FakeWire()
        a, b = Machine(wire, tmp_path / "a", A, peers), Machine(wire, tmp_path / "b", B)
        with trio.fail_after(20):
            async with trio.open_nursery() as nursery:
                for machine in (a, b):
                    await nursery.start(machine.run)
                await main(a, b)
                nursery.cancel_scope.cancel()
        a.store.close()
        b.store.close()

    trio.run(everything, clock=trio.testing.MockClock(autojump_threshold=0))


def test_a_key_is_pinned_and_listed(tmp_path: Path) -> None:
    async def main(a: Machine, b: Machine) -> None:
        added = await a.do("trust_add", name=B, key=text(b.key), address="b.vipip.test:5848")
        assert (added["trust"], added["fingerprint"]) == ("pinned", fingerprint(b.key))
        assert (await a.do("trust_list"))["peers"] == [added]
        (stored,) = a.store.load().peers
        assert (stored.key, stored.trust, stored.own_key) == (b.key, "pinned", a.key)
        assert a.engine.node.peers[B].mapping.candidates() == [Locator("192.0.2.2", 5848)]
        assert (await a.do("trust_remove", name=B)) == {"removed": B}
        assert (await a.do("trust_list"))["peers"] == []

    with_machines(tmp_path, main)


def test_who_is_added_without_a_key_is_asked_for_it(tmp_path: Path) -> None:
    async def main(a: Machine, b: Machine) -> None:
        await b.do("trust_add", name=A, key=text(a.key))
        added = await a.do("trust_add", name=B, address=AT[B].host)
        assert (added["trust"], added["fingerprint"]) == ("tofu", fingerprint(b.key))
        assert await a.do("trust_add", name=B) == added  # again: nothing new
        await a.do("trust_remove", name=B)
        with pytest.raises(UnreachableError):
            await a.engine.bind(LookupResult(B, (AT[B].host,)))  # it was asked by hand, and once

    with_machines(tmp_path, main)


def test_nobody_is_asked_for_a_key_that_somebody_keeps_out_of_dns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(DeadDns, "bogus", "nothing proves that it has no record (DNSSEC)")

    async def main(a: Machine, b: Machine) -> None:
        await b.do("trust_add", name=A, key=text(a.key))
        with pytest.raises(UnreachableError, match="DNSSEC"):
            await a.do("trust_add", name=B, address=AT[B].host)
        assert await a.do("trust_list") == {"peers": []}

    with_machines(tmp_path, main)


def test_mistakes_are_said(tmp_path: Path) -> None:
    async def main(a: Machine, b: Machine) -> None:
        await a.do("trust_add", name=B, key=text(b.key))
        mistakes: list[tuple[str, dict[str, str], str]] = [
            ("trust_add", {"name": B, "key": text(SOME)}, "accept-new-key"),
            ("trust_add", {"name": "c.vipip.test", "key": text(a.key)}, "this host's own key"),
            ("trust_add", {"name": A, "key": text(SOME)}, "this host itself"),
            ("trust_add", {"name": "c.vipip.test", "key": "short"}, "32 bytes in base64"),
            ("trust_add", {"name": "c.vipip.test", "key": text(SOME), "address": "10.1"}, "address 10.1"),
            ("trust_add", {}, "name is missing"),
            ("trust_accept", {"name": "c.vipip.test"}, "not among the peers"),
            ("trust_accept", {"name": B}, "has shown no other key"),
            ("trust_accept", {"name": B, "key": text(a.key)}, "this host's own key"),
            ("trust_remove", {"name": "c.vipip.test"}, "not among the peers"),
        ]
        for op, params, said in mistakes:
            with pytest.raises(ConfigError, match=said):
                await a.do(op, **params)
        assert a.engine.node.peers[B].key == b.key

    with_machines(tmp_path, main)


def test_a_refused_key_is_shown_and_then_accepted(tmp_path: Path) -> None:
    async def main(a: Machine, b: Machine) -> None:
        await a.do("trust_add", name=B, key=text(SOME), address=AT[B].host)
        await b.do("trust_add", name=A, key=text(a.key), address=AT[A].host)
        with pytest.raises(UnreachableError):
            await b.engine.bind(LookupResult(A, (AT[A].host,)))
        shown = await a.do("trust_accept", name=B)
        assert (shown["key"], shown["offered"]["key"]) == (text(SOME), text(b.key))
        assert a.engine.node.peers[B].key == SOME
        accepted = await a.do("trust_accept", name=B, key=text(b.key))
        assert (accepted["key"], accepted["trust"], accepted["offered"]) == (text(b.key), "pinned", None)
        await b.engine.bind(LookupResult(A, (AT[A].host,)))

    with_machines(tmp_path, main)


def test_what_the_configuration_says_is_changed_there(tmp_path: Path) -> None:
    async def main(a: Machine, b: Machine) -> None:
        a.engine.pin(B, SOME, ())
        for op, params in (("trust_accept", {"key": text(b.key)}), ("trust_remove", {})):
            with pytest.raises(ConfigError, match="configuration"):
                await a.do(op, name=B, **params)

    with_machines(tmp_path, main, (PeerConfig(B, SOME),))


def test_rotation_replaces_the_key_file_and_the_record(tmp_path: Path) -> None:
    async def main(a: Machine, b: Machine) -> None:
        await a.do("trust_add", name=B, key=text(b.key), address=AT[B].host)
        await b.do("trust_add", name=A, key=text(a.key))
        await a.engine.bind(LookupResult(B))
        old = a.key
        reply = await a.do("key_rotate")
        assert (reply["old"]["key"], reply["new"]["key"]) == (text(old), text(a.key))
        assert reply["untold"] == [B]
        assert public_key(load_key(a.config.key_file)) == a.key != old
        assert a.config.key_file.stat().st_mode & 0o777 == 0o600
        assert [one.public for one in a.store.load().old_keys] == [old]
        assert (a.republished, reply["record"]) == (1, None)
        await trio.testing.wait_all_tasks_blocked()
        assert b.engine.node.peers[A].key == a.key
        assert (await a.do("trust_list"))["peers"][0]["told"]
        a.writes_record = False
        reply = await a.do("key_rotate", forget_old=True)
        assert f"k={reply['new']['key']} " in reply["record"]
        assert a.store.load().old_keys == []

    with_machines(tmp_path, main)


def test_a_key_file_that_cannot_be_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main(a: Machine, b: Machine) -> None:
        old = a.key

        def refuse(self: Path, target: Path) -> Path:
            raise OSError(30, "Read-only file system")

        monkeypatch.setattr(Path, "replace", refuse)
        with pytest.raises((ConfigError, HostError), match="Read-only"):
            await a.do("key_rotate")
        assert a.key == old == public_key(load_key(a.config.key_file))
        assert a.republished == 0
        assert not [path for path in a.config.key_file.parent.iterdir() if path.name.startswith(".key")]

    with_machines(tmp_path, main)

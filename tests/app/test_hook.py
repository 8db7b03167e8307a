# ruff: noqa: ASYNC240 - a file of a few lines in tmp_path
"""How the system comes to ask us, and what we do when somebody else has other ideas."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from ipaddress import IPv4Network
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from vipnet.app import hook as hook_module
from vipnet.app.config import Config, Dns, PeerConfig, Tun
from vipnet.app.hook import FIGHT_MAX, FIGHT_S, Hook, routed_domains
from vipnet.app.texts import NamePattern
from vipnet.types import Fqdn, Locator

ME = Fqdn("me.example.org")


@pytest.fixture
def etc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stands for /etc/resolv.conf."""
    file = tmp_path / "resolv.conf"
    file.write_text("nameserver 192.0.2.53\nsearch example.test\noptions ndots:2\n")
    monkeypatch.setattr("vipnet.app.leftovers.RESOLV_CONF", file)
    return file


def config(etc: Path, **dns: object) -> Config:
    return Config(ME, state_dir=etc.parent / "state", dns=Dns(**dns))  # type: ignore[arg-type]


def run(hook: Hook, main: Callable[[], Awaitable[None]]) -> None:
    async def everything() -> None:
        await hook.take()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(hook.watch)
            await main()
            nursery.cancel_scope.cancel()
        hook.restore()

    trio.run(everything, clock=MockClock(autojump_threshold=0))


def test_a_server_of_the_link_alone_is_not_asked(etc: Path) -> None:
    """Routers advertise such ones (RFC 8106); every other one has to be a locator."""
    etc.write_text("nameserver fe80::1%eth0\nnameserver 2001:db8::53\nnameserver 192.0.2.53\n")
    hook = Hook(config(etc))
    assert [Locator(host, 53).host for host in hook.upstreams()] == ["2001:db8::53", "192.0.2.53"]
    etc.write_text("nameserver fe80::1%eth0\n")
    assert hook.upstreams() == ()


def test_the_file_is_taken_and_put_back_with_search_list_and_ndots(etc: Path) -> None:
    before = etc.read_text()
    hook = Hook(config(etc))

    async def main() -> None:
        assert (hook.kind, hook.active, hook.note) == ("file", True, None)
        assert etc.read_text().splitlines()[1:] == [
            "nameserver 127.0.0.47",
            "search example.test",
            "options ndots:2",
        ]
        assert hook.upstreams() == ("192.0.2.53",)

    run(hook, main)
    assert etc.read_text() == before


def test_none_touches_nothing(etc: Path) -> None:
    before = etc.read_text()
    hook = Hook(config(etc, hook="none"))

    async def main() -> None:
        assert (hook.kind, hook.active) == ("none", False)
        assert etc.read_text() == before
        assert hook.upstreams() == ("192.0.2.53",)

    run(hook, main)
    assert etc.read_text() == before


def test_another_networks_file_is_the_new_original(etc: Path) -> None:
    """What a DHCP client does a moment after the address has changed."""
    hook = Hook(config(etc))

    async def main() -> None:
        etc.write_text("nameserver 198.51.100.53\nsearch other.test\n")
        assert hook.upstreams() == ("198.51.100.53",)  # at once: the old network's are not asked
        await trio.sleep(hook_module.CHECK_S + 0.1)
        assert hook.upstreams() == ("198.51.100.53",)
        assert hook.active
        assert "search other.test" in etc.read_text()
        assert "127.0.0.47" in etc.read_text()
        assert "written by something else" in (hook.note or "")

    run(hook, main)
    assert etc.read_text() == "nameserver 198.51.100.53\nsearch other.test\n"


def crash(etc: Path) -> None:
    """A run that ends without a word, as with the power."""
    trio.run(Hook(config(etc)).take)


def test_after_a_power_loss_the_file_of_the_new_boot_counts(etc: Path) -> None:
    """The backup is of a network that is gone, and something has written the file since."""
    crash(etc)
    etc.write_text("nameserver 198.51.100.53\nsearch other.test\n")
    hook = Hook(config(etc))
    hook.restore()  # as every start does
    assert etc.read_text() == "nameserver 198.51.100.53\nsearch other.test\n"

    async def main() -> None:
        assert hook.active
        assert hook.upstreams() == ("198.51.100.53",)

    run(hook, main)
    assert etc.read_text() == "nameserver 198.51.100.53\nsearch other.test\n"


@pytest.mark.parametrize("files", ["both", "no backup", "no file"])
def test_after_a_power_loss_what_is_left_of_us_is_put_right(etc: Path, files: str) -> None:
    before = etc.read_text()
    crash(etc)
    if files == "no backup":
        (backup,) = (etc.parent / "state").iterdir()
        backup.unlink()
    elif files == "no file":
        etc.unlink()
    hook = Hook(config(etc))
    hook.restore()
    expected = {
        "both": before,
        "no backup": before.removeprefix("nameserver 192.0.2.53\n"),  # what can be saved
        "no file": before,
    }
    assert etc.read_text() == expected[files]

    async def main() -> None:
        assert hook.active

    run(hook, main)
    assert etc.read_text() == expected[files]


def test_who_insists_has_the_file(etc: Path) -> None:
    theirs = "nameserver 203.0.113.53\n"
    hook = Hook(config(etc))

    async def main() -> None:
        for _ in range(FIGHT_MAX + 1):
            etc.write_text(theirs)
            await trio.sleep(hook_module.CHECK_S + 0.1)
        assert etc.read_text() == theirs
        assert not hook.active
        assert "keeps writing" in (hook.note or "")
        assert hook.upstreams() == ("203.0.113.53",)
        await trio.sleep(hook_module.CHECK_S * 3)
        assert etc.read_text() == theirs
        # Another network is another story.
        await hook.handle_network()
        assert hook.active
        assert "127.0.0.47" in etc.read_text()

    run(hook, main)
    assert etc.read_text() == theirs


def test_who_writes_now_and_then_does_not_insist(etc: Path) -> None:
    hook = Hook(config(etc))

    async def main() -> None:
        for _ in range(FIGHT_MAX + 2):
            etc.write_text("nameserver 203.0.113.53\n")
            await trio.sleep(FIGHT_S / 2)
        assert hook.active
        assert "127.0.0.47" in etc.read_text()

    run(hook, main)


@pytest.mark.parametrize(
    ("text", "running", "kind"),
    [
        ("nameserver 127.0.0.53\noptions edns0\n", True, "resolved"),
        ("nameserver 127.0.0.53\n", False, "file"),
        ("nameserver 192.0.2.1\n", True, "file"),
        ("# Generated by resolvconf\nnameserver 192.0.2.1\n", True, "resolvconf"),
        ("", True, "file"),
    ],
)
def test_auto_takes_what_keeps_the_file(
    etc: Path, monkeypatch: pytest.MonkeyPatch, text: str, running: bool, kind: str
) -> None:
    done: list[object] = []

    async def is_running() -> bool:
        return running

    async def route(*arguments: object) -> None:
        done.append(arguments)

    async def take(self: object) -> None:
        done.append("resolvconf")

    monkeypatch.setattr("vipnet.system.resolved.is_running", is_running)

    async def domains(besides: str) -> tuple[str, ...]:
        return ()

    monkeypatch.setattr("vipnet.system.resolved.route", route)
    monkeypatch.setattr("vipnet.system.resolved.domains", domains)
    monkeypatch.setattr("vipnet.system.resolvconf.Resolvconf.take", take)
    monkeypatch.setattr("vipnet.system.resolvconf.is_installed", lambda: True)
    etc.write_text(text)
    hook = Hook(config(etc))

    async def main() -> None:
        assert hook.kind == kind
        assert hook.active

    run(hook, main)
    expected = {"resolved": [("tun0", "127.0.0.47", (".",))], "resolvconf": ["resolvconf"], "file": []}
    assert done == expected[kind]
    assert etc.read_text() == text


def test_domains_that_come_to_us() -> None:
    patterns = (NamePattern("*.own.test"), NamePattern("one.other.test"))
    peers = (PeerConfig(Fqdn("peer.test.net")),)
    split = Config(
        ME,
        dns=Dns(vip_names=patterns),
        peers=peers,
        tun=Tun(subnet=IPv4Network("10.64.0.0/15")),
    )
    assert routed_domains(split) == [
        "own.test",
        "one.other.test",
        "me.example.org",
        "peer.test.net",
        "64.10.in-addr.arpa",
        "65.10.in-addr.arpa",
    ]
    assert routed_domains(Config(ME)) == ["."]
    default = routed_domains(Config(ME, dns=Dns(vip_names=patterns)))
    assert [name for name in default if name.endswith("in-addr.arpa")] == [
        f"{octet}.in-addr.arpa" for octet in range(240, 256)
    ]


def test_what_is_known_comes_to_us_though_a_network_has_its_domain(
    etc: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """resolved asks whoever has the closest domain, and networks have domains; both may change."""
    elsewhere: list[str] = []
    known = [Fqdn("b.example.org"), Fqdn("b.example.net")]
    routed: list[tuple[str, ...]] = []

    async def domains(besides: str) -> tuple[str, ...]:
        return tuple(elsewhere)

    async def route(interface: str, listen: str, ours: tuple[str, ...]) -> None:
        routed.append(ours)

    monkeypatch.setattr("vipnet.system.resolved.domains", domains)
    monkeypatch.setattr("vipnet.system.resolved.route", route)
    hook = Hook(config(etc, hook="resolved"), known=lambda: known)

    async def main() -> None:
        assert (routed, hook.note) == ([(".",)], None)
        elsewhere.append("example.org")
        await trio.sleep(hook_module.RESOLVED_CHECK_S + 1)
        assert routed[1:] == [(".", "me.example.org", "b.example.org")]
        assert hook.note is not None
        assert "names below example.org" in hook.note
        known.append(Fqdn("d.example.org"))
        await trio.sleep(hook_module.RESOLVED_CHECK_S)
        assert routed[2:] == [(".", "me.example.org", "b.example.org", "d.example.org")]
        elsewhere.clear()
        await hook.handle_network()
        assert [*routed[3:], hook.note] == [(".",), None]
        await trio.sleep(10 * hook_module.RESOLVED_CHECK_S)
        assert len(routed) == 4, "nothing new, nothing said"

    run(hook, main)


def test_a_network_s_domain_that_is_not_ours_is_its_own(etc: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def domains(besides: str) -> tuple[str, ...]:
        return ("office.test", "vip.example.org")

    async def route(interface: str, listen: str, ours: tuple[str, ...]) -> None:
        assert ours[:2] == ("example.org", "me.example.org")

    monkeypatch.setattr("vipnet.system.resolved.domains", domains)
    monkeypatch.setattr("vipnet.system.resolved.route", route)
    hook = Hook(config(etc, hook="resolved", vip_names=(NamePattern("*.example.org"),)))

    async def main() -> None:
        assert hook.note is not None
        assert "vip.example.org" in hook.note
        assert "office.test" not in hook.note

    run(hook, main)

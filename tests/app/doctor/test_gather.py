"""What is asked of the daemon and of files, as they should be and otherwise; tests/lab has the rest."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest
import trio
from msgspec import structs
from tests.app.doctor.healthy import DAEMON, PARTNER
from tests.cli.examples import PING, STATUS
from tests.cli.support import answering, daemon, short_directory, write_config
from tests.netns import namespace, veth

from vipnet.app import launch
from vipnet.app.config import Config, load_config
from vipnet.app.control import SOCKET_NAME
from vipnet.app.doctor import gather
from vipnet.app.doctor.facts import Ping
from vipnet.errors import UnreachableError


def test_a_daemon_that_runs() -> None:
    with daemon({"status": answering(STATUS)}) as path:
        found, problem = gather._daemon(load_config(path))
    assert problem is None
    assert found is not None
    assert (found.name, found.state, found.hosts) == ("a.vipip.net", "ready", ("10.201.1.10",))
    assert [peer.name for peer in found.peers] == ["b.vipip.net", "c.vipip.net"]
    assert gather._partners(found) == ["b.vipip.net"], "whoever has no token cannot be pinged"


def test_a_daemon_of_another_version() -> None:
    with daemon({"status": answering({"name": "a.vipip.net"})}) as path:
        found, problem = gather._daemon(load_config(path))
    assert found is None
    assert problem is not None
    assert "missing required field" in problem


def test_no_daemon_and_one_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gather, "_STATUS_S", 0.1)
    with short_directory() as directory:
        config = load_config(write_config(directory))
        assert gather._daemon(config) == (None, None)
        with launch.run_lock(config.run_dir), socket.socket(socket.AF_UNIX) as deaf:
            deaf.bind(str(config.run_dir / SOCKET_NAME))
            deaf.listen()
            found, problem = gather._daemon(config)
        assert found is None
        assert problem is not None
        assert "does not answer within 0.1 s" in problem


def test_the_last_words_of_the_one_before() -> None:
    with short_directory() as directory:
        config = load_config(write_config(directory))
        assert gather._last_words(config) is None
        config.run_dir.mkdir()
        log = config.run_dir / launch.LOG_NAME
        log.write_text("daemon.started\nvipnet: first\nmore\nvipnet: UDP port 5847 is in use\n")
        assert gather._last_words(config) == "UDP port 5847 is in use"
        log.write_text("daemon.started\n")
        assert gather._last_words(config) is None
    assert gather._last_words(None) is None


def test_partners_are_pinged_by_the_daemons_own_path() -> None:
    async def ping(params: dict[str, Any]) -> object:
        if params["name"] == "b.vipip.net":
            return PING
        raise UnreachableError(f"{params['name']} cannot be reached: no answer")

    def pinged(config: Config) -> dict[str, Ping]:
        async def main() -> dict[str, Ping]:
            slow = gather._Slow()
            for name in ("b.vipip.net", "c.vipip.net"):
                await slow.ping(config, name)
            return slow.pings

        return trio.run(main)

    with daemon({"ping": ping}) as path:
        found = pinged(load_config(path))
    assert found == {
        "b.vipip.net": Ping(0.42),
        "c.vipip.net": Ping(None, "c.vipip.net cannot be reached: no answer"),
    }


def test_only_so_many_partners_are_asked_and_those_first_that_speak() -> None:
    ages = [None, 50.0, 1.0, *range(100, 120)]
    peers = tuple(structs.replace(PARTNER, name=f"p{age}.x", heard_s=age) for age in ages)
    found = gather._partners(structs.replace(DAEMON, peers=peers))
    assert found == ["p1.0.x", "p50.0.x", *(f"p{age}.x" for age in range(100, 106))]


def test_addresses_that_partners_are_told() -> None:
    with namespace() as space:
        veth(space, "eth0", space, "eth1")
        space.ip("link set eth0 up\nlink set eth1 up\naddr add 10.9.0.1/24 dev eth0")
        space.ip("route add default via 10.9.0.2")
        assert space.call(lambda: trio.run(gather._underlay, None, "tun0")) == {"10.9.0.1": "eth0"}
        space.ip("addr flush dev eth0")
        assert space.call(lambda: trio.run(gather._underlay, None, "tun0")) == {}


def test_which_secrets_there_are(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text(
        'name = "a.example.org"\nkey_file = "/k"\n'
        '[publish]\nprovider = "desec"\nsecret_file = "$CREDENTIALS_DIRECTORY/x"\n'
        '[[peer]]\nname = "b.example.org"\npsk_file = "/p"\n'
    )
    found = gather._files(load_config(path))
    assert [(one.path, one.label) for one in found] == [
        ("/k", "key_file"),
        ("/p", "[[peer]] b.example.org psk_file"),
    ]

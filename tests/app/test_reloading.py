"""A changed configuration: taken over as far as it can be, or refused as a whole."""

from __future__ import annotations

import logging
from base64 import b64encode
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from vipnet.app.config import Config
from vipnet.app.reloading import LIVE, Fresh, Reloading, compare, read
from vipnet.app.toml import Section, decode
from vipnet.errors import ConfigError

NAME = 'name = "a.vipip.net"\n'
KEY = b64encode(bytes(31) + b"\1").decode()


def parse(text: str) -> Config:
    return decode((NAME + text).encode(), Config)


def nothing(_unix_s: float) -> None:
    pass


@pytest.mark.parametrize(
    ("text", "taken", "restart"),
    [
        ("", [], []),
        ('[accept]\nfrom = ["*.vipip.net"]\nxx = true', ["[accept] from", "[accept] xx"], []),
        ("[tun]\nmtu = 1300", [], ["[tun] mtu"]),
        ('state_dir = "/elsewhere"', [], ["state_dir"]),
        ('[dns]\nupstreams = ["192.0.2.1"]\nhook = "none"', ["[dns] upstreams"], ["[dns] hook"]),
        ('[transport]\ninterfaces = ["eth*"]\nport = 1', ["[transport] interfaces"], ["[transport] port"]),
        ("[publish]\nttl = 9", ["[publish] ttl"], []),
        (f'[[peer]]\nname = "b.vipip.net"\nkey = "{KEY}"', ["[[peer]] b.vipip.net"], []),
        ("[mobility]\nlease_s = 30", [], ["[mobility] lease_s"]),
    ],
)
def test_what_is_taken_and_what_wants_a_restart(text: str, taken: list[str], restart: list[str]) -> None:
    old, new = parse(""), parse(text)
    changes = compare(old, new)
    assert (list(changes.taken), list(changes.restart)) == (taken, restart)
    # Whoever reloads the same file again hears of the rest again, and of nothing else.
    again = compare(changes.config, new)
    assert (again.taken, list(again.restart)) == ((), restart)
    back = compare(changes.config, old)
    assert (list(back.taken), back.restart) == (taken, ())


def test_every_key_that_is_live_is_a_key() -> None:
    tables = {field.encode_name: field.name for field in structs.fields(Config)}
    for one in LIVE:
        if isinstance(one, str):
            assert one in tables
            continue
        table = getattr(parse(""), tables[one[0]])
        assert isinstance(table, Section)
        assert one[1] in {field.name for field in structs.fields(table)}


def test_peers_come_change_and_go() -> None:
    def listed(*peers: str) -> Config:
        return parse("".join(f'[[peer]]\nname = "{peer[0]}.vipip.net"\n{peer[1:]}\n' for peer in peers))

    old, new = listed("b", "c", "d"), listed("d", f'ckey = "{KEY}"', "e")
    assert compare(old, new).taken == tuple(f"[[peer]] {name}.vipip.net" for name in "bce")


def test_what_stays_has_to_go_with_what_is_new() -> None:
    old = parse('[tun]\nsubnet = "240.0.0.0/4"')
    new = parse('[tun]\nsubnet = "10.77.0.0/16"\n[dns]\nupstreams = ["240.0.0.1"]')
    with pytest.raises(ConfigError, match=r"upstreams.*240\.0\.0\.1.*\[tun\] subnet.*restart"):
        compare(old, new)


class Daemon:
    """What takes over, and a file to change."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "config.toml"
        self.taken: list[tuple[Fresh, Fresh]] = []
        self.write("")
        fresh = read(parse(""), nothing)
        self.reloading = Reloading(self.path, fresh, lambda old, new: self.taken.append((old, new)), nothing)

    def write(self, text: str) -> None:
        self.path.write_text(NAME + text)


def test_a_configuration_with_a_mistake_changes_nothing(tmp_path: Path) -> None:
    daemon = Daemon(tmp_path)
    for text, says in (
        ("[accept]\nform = []", "from"),  # the nearest right spelling
        ('[accept]\nxx = true\n[[peer]]\nname = "b.vipip.net"\npsk_file = "/nowhere"', "/nowhere"),
        ('[accept]\nxx = true\n[dns]\ntrust_anchors = "/nowhere"', "/nowhere"),
        (
            '[accept]\nxx = true\n[publish]\nprovider = "rfc2136"\nkey_secret_file = "/nowhere"',
            "/nowhere",
        ),
    ):
        daemon.write(text)
        with pytest.raises(ConfigError, match=says):
            daemon.reloading.reload()
    daemon.path.unlink()
    with pytest.raises(ConfigError, match="no such file"):
        daemon.reloading.reload()
    assert daemon.taken == []
    daemon.write("[accept]\nxx = true")
    assert daemon.reloading.reload() == {"taken": ["[accept] xx"], "restart": []}
    ((before, after),) = daemon.taken
    assert (before.accept.xx, after.accept.xx) == (False, True)


def test_a_signal_tells_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    daemon = Daemon(tmp_path)
    caplog.set_level(logging.INFO)
    daemon.write("nonsense")
    daemon.reloading.reload_by_signal()
    daemon.write("[tun]\nmtu = 1300\n[accept]\nxx = true")
    daemon.reloading.reload_by_signal()
    refused, reloaded = (vars(record) for record in caplog.records)
    assert refused["msg"] == "config.refused"
    assert "not TOML" in refused["error"]
    assert reloaded["msg"] == "config.reloaded"
    assert (reloaded["taken"], reloaded["wants_restart"]) == (["[accept] xx"], ["[tun] mtu"])
    assert list(daemon.reloading.wants_restart) == ["[tun] mtu"]
    daemon.write("[accept]\nxx = true")
    daemon.reloading.reload_by_signal()
    assert list(daemon.reloading.wants_restart) == [], "as it was: nothing waits any more"


def test_a_secret_that_is_another_is_noticed_though_the_file_is_the_same(tmp_path: Path) -> None:
    secret = tmp_path / "secret"

    def write(text: str) -> None:
        secret.write_text(text)
        secret.chmod(0o600)

    write(b64encode(bytes(32)).decode())
    daemon = Daemon(tmp_path)
    daemon.write(f'[publish]\nprovider = "rfc2136"\nkey_secret_file = "{secret}"')
    assert daemon.reloading.reload()["taken"] == ["[publish] provider", "[publish] key_secret_file"]
    assert daemon.reloading.reload()["taken"] == []
    write(b64encode(bytes(31) + b"\1").decode())
    assert daemon.reloading.reload()["taken"] == ["the secret of [publish]"]
    stamps: list[Any] = [(old.publish_stamp, new.publish_stamp) for old, new in daemon.taken]
    assert [old == new for old, new in stamps] == [False, True, False]

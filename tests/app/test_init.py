"""`vipnet init`: what is written, what is kept, what is refused."""

from __future__ import annotations

import binascii
import os
import pty
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest
from tests.cli.support import vipnet

from vipnet.app.config import DEFAULT_PATH, Config, load_config
from vipnet.app.init import config_text, initialise, own_zone, public_key
from vipnet.app.keys import create_key, load_key
from vipnet.app.publishconfig import Provider, ServiceName
from vipnet.app.serverlines import Server
from vipnet.cli.init import PROVIDERS, SERVERS, SERVICES
from vipnet.errors import ConfigError, HostError
from vipnet.names.records import CapabilityRecord
from vipnet.publish.dyndns2 import SERVICES as SERVICE_TABLE
from vipnet.types import Fqdn, PublicKey

A = Fqdn("a.vipip.net")
NAT = ("--address", "observed", "--address", "192.0.2.7")
UPDATES = {"provider": "rfc2136", "key_secret_file": "/etc/vipnet/tsig", "zone": "vipip.net", "ttl": 9}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "etc" / "config.toml"


def test_what_is_written_can_be_loaded(path: Path) -> None:
    written = initialise(path, A, UPDATES)
    assert (written.new_config, written.new_key) == (True, True)
    config = load_config(path)
    assert config == written.config
    assert config.name == A
    assert config.key_file == path.with_name("key")
    assert config.publish.provider == "rfc2136"
    assert str(config.publish.key_secret_file) == "/etc/vipnet/tsig"
    assert (config.publish.zone, config.publish.ttl) == ("vipip.net", 9)
    assert config.accept.from_ == ("*.vipip.net",)
    assert path.stat().st_mode & 0o777 == 0o644
    assert config.key_file.stat().st_mode & 0o777 == 0o600
    assert len(load_key(config.key_file)) == 32


def test_twice_changes_nothing(path: Path) -> None:
    first = initialise(path, A, {})
    before = path.stat().st_mtime_ns, path.with_name("key").read_bytes()
    second = initialise(path, A, {})
    assert (second.new_config, second.new_key) == (False, False)
    assert second.public_key == first.public_key
    assert (path.stat().st_mtime_ns, path.with_name("key").read_bytes()) == before


def test_another_configuration_needs_yes_and_keeps_the_key(path: Path) -> None:
    initialise(path, A, {})
    key, text = path.with_name("key").read_bytes(), path.read_text()
    done = vipnet("init", "b.vipip.net", "--config", path)
    assert done.status == 2
    assert "`--yes` replaces it" in done.err
    assert path.read_text() == text
    done = vipnet("init", "b.vipip.net", "--yes", "--config", path)
    assert done.status == 0
    assert load_config(path).name == "b.vipip.net"
    assert path.with_name("key").read_bytes() == key
    assert path.with_name("config.toml.before").read_text() == text


def test_a_key_that_others_can_read_is_refused_before_anything_is_written(path: Path) -> None:
    path.parent.mkdir()
    path.with_name("key").write_text("x")
    path.with_name("key").chmod(0o644)
    done = vipnet("init", "a.vipip.net", "--config", path)
    assert done.status == 2
    assert "chmod 600" in done.err
    assert not path.exists()


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["laptop"], "'laptop' is not a full name"),
        (["a b.vipip.net"], "is not a host name"),
        (["a.vipip.net", "--provider", "rfc2136"], "key_secret_file is missing"),
        (["a.vipip.net", "--key-algorithm", "md5"], "key_algorithm"),
        (["a.vipip.net", "--ttl", "-1"], "ttl"),
        (["a.vipip.net", "--zone", "example.org"], "is not in it"),
        (["a.vipip.net", "--provider", "godaddy"], "godaddy"),
        (["a.duckdns.org", "--provider", "duckdns"], "secret_file is missing"),
        (["a.vipip.net", "--provider", "duckdns", "--secret-file", "/t"], "duckdns.org"),
        (["a.ddns.net", "--provider", "dyndns2", "--service", "no-ip"], "user is missing"),
        (["a.vipip.net", "--provider", "hook", "--command", "'x"], "--command: No closing quotation"),
    ],
)
def test_mistakes_are_one_line_and_leave_nothing(args: list[str], words: str, path: Path) -> None:
    done = vipnet("init", *args, "--config", path)
    assert (done.status, done.out) == (2, "")
    assert words in done.err
    assert done.err.count("\n") == 1
    assert not path.parent.exists()


def test_a_directory_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = vipnet("init", "a.vipip.net", "--config", tmp_path / "file" / "config.toml")
    assert done.status == 2
    assert "cannot be written" in done.err


def test_the_record_alone(path: Path) -> None:
    done = vipnet("init", "A.vipip.net.", "--print-record", "--config", path)
    assert (done.status, done.err, done.out.count("\n")) == (0, "", 1)
    owner, _, text = done.out.strip().partition(" 300 IN TXT ")
    assert owner == "_vip.a.vipip.net."
    key = public_key(load_config(path))
    assert CapabilityRecord.parse(text.strip('"').encode()) == CapabilityRecord(key, 5847)
    assert vipnet("key", "show", "--record", "--config", path).out == done.out
    shown = vipnet("key", "show", "--key", "--config", path).out
    assert binascii.a2b_base64(shown) == key


def test_what_is_said(path: Path) -> None:
    done = vipnet("init", "a.vipip.net", "--config", path)
    assert done.out.splitlines()[:2] == [f"wrote {path}", f"made the key {path.with_name('key')}"]
    assert "_vip.a.vipip.net. 300 IN TXT" in done.out
    again = vipnet("init", "a.vipip.net", "--config", path)
    assert again.out.splitlines()[:2] == [f"{path} is as it was", f"kept the key {path.with_name('key')}"]
    other = vipnet(
        *("init", "a.vipip.net", "--provider", "rfc2136", "--key-secret-file", "/k", "--yes", "--offline"),
        *("--config", path),
    )
    assert "TXT" not in other.out


def test_at_the_default_place_only_what_differs_is_written() -> None:
    assert config_text(A, {"provider": "none"}, DEFAULT_PATH).splitlines()[1:] == [
        'name = "a.vipip.net"',
        "",
        "[publish]  # how this host's address gets into DNS",
        'provider = "none"',
        "",
        "[accept]  # who may open a session to this host; names it contacts first always may",
        'from = ["*.vipip.net"]',
    ]


@pytest.mark.parametrize(
    ("name", "zone", "own"),
    [
        ("a.vipip.net", None, "vipip.net"),
        ("a.home.example.org", None, "home.example.org"),
        ("a.home.example.org", "example.org", "example.org"),
        ("example.org", None, None),
        ("shop.co.uk", None, None),
        ("a.shop.co.uk", None, "shop.co.uk"),
        ("a.example.de", None, "example.de"),
        ("me.duckdns.org", None, None),
        ("me.dedyn.io", "dedyn.io", None),
    ],
)
def test_nobody_is_let_in_for_sharing_a_zone(name: str, zone: str | None, own: str | None) -> None:
    assert own_zone(Fqdn(name), zone) == own


def test_providers_and_services_are_the_same_everywhere() -> None:
    assert get_args(Provider) == PROVIDERS
    assert get_args(ServiceName) == SERVICES == tuple(SERVICE_TABLE)
    assert get_args(Server) == SERVERS


@pytest.mark.parametrize(
    ("name", "args", "accepted"),
    [
        ("a.ddns.net", ["dyndns2", "--service", "no-ip", "--user", "u@x.org", "--secret-file", "/t"], ()),
        ("a.myown.net", ["dyndns2", "--url", "https://d.net/u", "--user", "u", "--secret-file", "/t"], ()),
        ("a.duckdns.org", ["duckdns", "--secret-file", "$CREDENTIALS_DIRECTORY/token"], ()),
        ("a.vipip.net", ["cloudflare", "--secret-file", "/t"], ("*.vipip.net",)),
        ("a.vipip.net", ["desec", "--secret-file", "/t", *NAT], ("*.vipip.net",)),
        ("a.me.dedyn.io", ["desec", "--secret-file", "/t"], ("*.me.dedyn.io",)),
        ("a.vipip.net", ["hetzner", "--secret-file", "/t", "--zone", "vipip.net"], ("*.vipip.net",)),
        ("a.vipip.net", ["hook", "--command", "/bin/x 'a b'"], ("*.vipip.net",)),
    ],
)
def test_every_provider_by_options(name: str, args: list[str], accepted: tuple[str, ...], path: Path) -> None:
    done = vipnet("init", name, "--offline", "--config", path, "--provider", *args)
    assert (done.status, done.err) == (0, "")
    config = load_config(path)
    assert config.publish.provider == args[0]
    assert config.accept.from_ == accepted
    assert (f"vipnet trust add {name} " in done.out) == (args[0] == "dyndns2")
    assert config.publish.address == (("observed", "192.0.2.7") if "--address" in args else ("interface",))
    if args[0] == "hook":
        assert config.publish.command == ("/bin/x", "a b")


def test_on_a_terminal_it_asks_and_keeps_the_password_to_itself(path: Path) -> None:
    """In a file of mode 0600 it is, and nowhere else: not on the screen, not in the configuration."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "vipnet", "init", "a.ddns.net", "--offline"]
    process = subprocess.Popen(
        [*command, "--config", str(path)], stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
    )
    os.close(theirs)
    screen = b""
    for question, answer in (
        (b"Provider", "dyndns2"),
        (b"Service", "no-ip"),
        (b"User", "u@example.org"),
        (b"Password", "pass word"),
    ):
        while question not in screen.rpartition(b"\n")[2]:
            screen += os.read(ours, 1024)
        os.write(ours, answer.encode() + b"\n")
    try:
        while chunk := os.read(ours, 1024):
            screen += chunk
    except OSError:
        pass  # EIO: the other end is closed
    os.close(ours)
    assert process.wait(20) == 0, screen
    assert b"pass word" not in screen
    publish = load_config(path).publish
    assert (publish.service, publish.user) == ("no-ip", "u@example.org")
    assert publish.secret_file == path.with_name("publish-secret")
    assert publish.secret_file.read_text() == "pass word\n"
    assert publish.secret_file.stat().st_mode & 0o777 == 0o600
    assert "pass word" not in path.read_text()


def test_another_secret_is_not_overwritten(path: Path) -> None:
    keys = {"provider": "desec", "secret_file": str(path.with_name("token"))}
    initialise(path, A, keys, secret="one")
    config = path.read_bytes()
    assert initialise(path, A, keys, secret="one").new_config is False
    with pytest.raises(ConfigError, match="token: exists and holds something else; `--yes` replaces it"):
        initialise(path, A, keys, secret="two")
    assert path.with_name("token").read_text() == "one\n"
    initialise(path, A, keys, secret="two", replace=True)
    assert path.with_name("token").read_text() == "two\n"
    assert path.with_name("token").stat().st_mode & 0o777 == 0o600
    assert path.with_name("token.before").read_text() == "one\n"
    assert path.read_bytes() == config


@pytest.mark.parametrize("before", [False, True])
def test_what_fails_leaves_everything_as_it_was(path: Path, before: bool) -> None:
    path.parent.mkdir()
    if before:
        create_key(path.with_name("key"))
        path.with_name("token").write_text("one\n")
    there = {file.name: file.read_bytes() for file in path.parent.iterdir()}
    keys = {"provider": "desec", "secret_file": str(path.with_name("token"))}

    def check(config: Config, _key: PublicKey) -> None:
        assert config.publish.secret_file is not None
        assert config.publish.secret_file.read_text() == "two\n"
        assert not path.exists()
        raise HostError("no such zone")

    with pytest.raises(HostError, match="no such zone"):
        initialise(path, A, keys, secret="two", replace=True, check=check)
    assert {file.name: file.read_bytes() for file in path.parent.iterdir()} == there


def test_no_option_takes_a_secret() -> None:
    """Others on the machine can read a command line."""
    shown = vipnet("init", "--help").out
    assert not [
        word for word in shown.split() if word in ("--password", "--token", "--secret", "--key-secret")
    ]
    done = vipnet("init", "a.ddns.net", "--provider", "dyndns2", "--secret", "x")
    assert done.status == 2

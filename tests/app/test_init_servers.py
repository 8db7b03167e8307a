"""`vipnet init` with real servers: it prints lines for them, they get them, and it updates through them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

import pytest
from tests.app.machine import Machine, machine
from tests.bind import Bind, running_bind
from tests.nsupdateserver import PASSWORD, running_nsupdate
from tests.otherservers import running_knot, running_powerdns

from vipnet.app.config import load_config

ZONE, NAME, ADDRESS = "vipip.test", "a.vipip.test", "192.0.2.10"
Paste = Callable[[Path, str], AbstractContextManager[Bind]]


@pytest.fixture
def host() -> Iterator[Machine]:
    """A machine that nobody has configured; its resolver is the server of the test."""
    with machine() as one:
        one.config.unlink()
        one.key.unlink()
        (one.etc / "resolv.conf").write_text("nameserver 127.0.0.1\n")
        yield one


@contextmanager
def inside(host: Machine, running: Callable[[], AbstractContextManager[Bind]]) -> Iterator[Bind]:
    """A server on port 53 of the machine itself."""
    with ExitStack() as held:
        yield host.space.call(lambda: held.enter_context(running()))


def bind(directory: Path, lines: str, records: str = "") -> AbstractContextManager[Bind]:
    there, count = re.subn(r'file ".*"', f'file "{directory}/zone"', lines)
    assert count == 1
    return running_bind(directory, zone=ZONE, port=53, statements=there, records=records)


def knot(directory: Path, lines: str) -> AbstractContextManager[Bind]:
    return running_knot(directory, lines, port=53)


def powerdns(directory: Path, lines: str) -> AbstractContextManager[Bind]:
    return running_powerdns(directory, lines, port=53)


def left(host: Machine) -> set[str]:
    return {path.name for path in host.directory.iterdir()} - {"etc", "state", "run"}


@pytest.mark.parametrize(
    ("kind", "paste"),
    [
        ("bind", bind),
        pytest.param("knot", knot, marks=pytest.mark.stack),
        pytest.param("powerdns", powerdns, marks=pytest.mark.stack),
    ],
)
def test_printed_lines_let_it_update(kind: str, paste: Paste, host: Machine, tmp_path: Path) -> None:
    printed = host.vipnet("init", NAME, "--print-server", kind)
    assert printed.status == 0, printed.err
    assert left(host) == {"tsig"}  # and no configuration, before the server is ready
    assert (host.directory / "tsig").stat().st_mode & 0o777 == 0o600
    assert host.vipnet("init", NAME, "--print-server", kind).out == printed.out
    with inside(host, lambda: paste(tmp_path / "server", printed.out)) as server:
        done = host.vipnet("init", NAME, "--provider", "rfc2136")
        assert (done.status, done.err) == (0, "trying an update by rfc2136 ...\n")
        assert done.out.startswith(
            f"published {ADDRESS}; 127.0.0.1:53 answers with it\nwrote {host.config}\n"
        )
        assert "Next, here:" in done.out
        assert "Next, on the other device:" in done.out
        found = host.space.call(lambda: (server.texts(NAME, "A"), server.texts(f"_vip.{NAME}", "TXT")))
        assert found[0] == {ADDRESS}
        assert len(found[1]) == 1
        assert load_config(host.config).publish.provider == "rfc2136"
        # The same again changes nothing and tries nothing.
        again = host.vipnet("init", NAME, "--provider", "rfc2136")
        assert again.out.startswith(f"{host.config} is as it was\n")
        assert "vip1" in found[1].pop()


def test_the_key_may_change_its_own_name_only(host: Machine, tmp_path: Path) -> None:
    lines = host.vipnet("init", NAME, "--print-server", "bind").out
    with inside(host, lambda: bind(tmp_path / "server", lines)) as server:
        args = ("--provider", "rfc2136", "--key-name", NAME)
        done = host.vipnet("init", f"b.{ZONE}", *args)
        assert done.status == 1
        assert "nothing is written: rfc2136 did not take the update: 127.0.0.1:53 refuses to let" in done.err
        assert left(host) == {"tsig"}
        assert host.space.call(lambda: server.texts(f"b.{ZONE}", "A")) == set()


def test_a_server_that_does_not_answer_is_named(host: Machine, tmp_path: Path) -> None:
    """Nobody listens at the second one."""
    lines = host.vipnet("init", NAME, "--print-server", "bind").out
    records = "@ NS ns2\nns2 A 127.0.0.2"
    with inside(host, lambda: bind(tmp_path / "server", lines, records)):
        done = host.vipnet("init", NAME, "--provider", "rfc2136")
    assert done.status == 0, done.err
    assert "127.0.0.1:53 answers with it; 127.0.0.2:53 did not answer" in done.out


@pytest.mark.stack
def test_a_dyndns2_account(host: Machine, tmp_path: Path) -> None:
    """By nsupdate.info's server: a wrong password leaves nothing, the right one a configuration."""
    secret = host.directory / "password"
    secret.touch(mode=0o600)
    with running_nsupdate(tmp_path, host.space) as service:
        options = (
            "--provider",
            "dyndns2",
            "--url",
            service.url,
            "--user",
            NAME,
            "--secret-file",
            str(secret),
        )
        secret.write_text("wrong")
        done = host.vipnet("init", NAME, *options)
        assert done.status == 1
        assert "(badauth): check [publish] user and secret_file" in done.err
        assert left(host) == {"password"}
        secret.write_text(PASSWORD)
        done = host.vipnet("init", NAME, *options)
        assert done.status == 0, done.err
        assert f"published {ADDRESS}; 127.0.0.1:53 answers with it" in done.out
        assert f"sudo vipnet trust add {NAME} " in done.out
        assert host.space.call(lambda: service.bind.texts(NAME, "A")) == {ADDRESS}
        assert left(host) == {"password", "key", "config.toml"}


def test_without_a_server_nothing_is_left(host: Machine) -> None:
    (host.directory / "tsig").write_text("dGhpcnR5LXR3byBieXRlcyBvZiB0ZXN0IHNlY3JldCE=\n")
    (host.directory / "tsig").chmod(0o600)
    done = host.vipnet("init", NAME, "--provider", "rfc2136")
    assert done.status == 1
    assert "nothing is written: rfc2136 did not take the update: primary server not found" in done.err
    assert left(host) == {"tsig"}
    offline = host.vipnet("init", NAME, "--provider", "rfc2136", "--offline")
    assert offline.status == 0
    assert left(host) == {"tsig", "key", "config.toml"}

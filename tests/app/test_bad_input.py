"""What a user can get wrong: one line that says what, where and how to mend it; nothing left behind."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from msgspec import Struct
from tests.app.machine import Machine, machine
from tests.bind import running_bind
from tests.lab.labs import wait_until
from tests.support import need_program

from vipnet.system.store import Store

FAILED, CONFIG, NOT_READY = 1, 2, 3


class Case(Struct, frozen=True):
    """`spoil` makes the mistake on a good machine; `words` are all in the one line."""

    spoil: Callable[[Machine, ExitStack], object]
    status: int
    words: tuple[str, ...]


def configured(text: str, **top: str | Path) -> Callable[[Machine, ExitStack], None]:
    return lambda one, _: one.configure(text, **top)


def mounted(command: str) -> Callable[[Machine, ExitStack], None]:
    """COMMAND, a format string, is run by a shell in front of vipnet, in a mount namespace."""

    def spoil(one: Machine, _: ExitStack) -> None:
        one.state.mkdir()
        one.mounts = command.format(state=one.state)

    return spoil


def without(capability: str) -> Callable[[Machine, ExitStack], None]:
    def spoil(one: Machine, _: ExitStack) -> None:
        need_program("setpriv")
        one.prefix = ("setpriv", f"--bounding-set=-{capability}")

    return spoil


def unreadable(one: Machine, _: ExitStack) -> None:
    need_program("setpriv")
    one.config.chmod(0)
    one.prefix = ("setpriv", "--bounding-set=-dac_override,-dac_read_search")


def bound(kind: socket.SocketKind, host: str, port: int) -> Callable[[Machine, ExitStack], object]:
    """Somebody else has that port."""

    def bind() -> socket.socket:
        sock = socket.socket(socket.AF_INET, kind)
        try:
            sock.bind((host, port))
        except OSError:
            sock.close()
            raise
        if kind == socket.SOCK_STREAM:
            sock.listen()
        return sock

    return lambda one, held: held.enter_context(one.space.call(bind))


def busy_metrics(one: Machine, held: ExitStack) -> None:
    one.configure("[metrics]\nport = 9847\n")
    bound(socket.SOCK_STREAM, "127.0.0.1", 9847)(one, held)


def newer_store(one: Machine, _: ExitStack) -> None:
    with contextlib.closing(Store(one.state / "state.db")):
        pass
    with contextlib.closing(sqlite3.connect(one.state / "state.db")) as store:
        store.execute("INSERT INTO schema VALUES (99)")
        store.commit()


def damaged_store(one: Machine, _: ExitStack) -> None:
    one.state.mkdir()
    (one.state / "state.db").write_bytes(b"this is no data base " * 100)


CASES = {
    "no configuration": Case(lambda one, _: one.config.unlink(), CONFIG, ("config.toml", "`vipnet init")),
    "unreadable configuration": Case(unreadable, CONFIG, ("config.toml", "Permission denied", "may read")),
    "not TOML": Case(configured("[tun\n"), CONFIG, ("config.toml", "not TOML", "line 5")),
    "unknown key": Case(
        configured('[tun]\nsubnett = "10.0.0.0/8"\n'),
        CONFIG,
        ("config.toml", '"subnett" in [tun]', 'did you mean "subnet"?'),
    ),
    "wrong value": Case(
        configured("[transport]\nport = 70000\n"),
        CONFIG,
        ("config.toml", "[transport] port = 70000", "to 65535"),
    ),
    "reserved subnet": Case(
        configured('[tun]\nsubnet = "127.0.0.0/8"\n'), CONFIG, ("[tun] subnet", "loopback", "240.0.0.0/4")
    ),
    "key that others can read": Case(
        lambda one, _: one.key.chmod(0o640), CONFIG, ("key", "0640", "`chmod 600 ")
    ),
    "no key": Case(lambda one, _: one.key.unlink(), CONFIG, ("key", "no such file", "`vipnet init NAME`")),
    "not a key": Case(
        lambda one, _: one.key.write_text("secret\n"), CONFIG, ("key", "not a key", "32 bytes in base64")
    ),
    "no TSIG key": Case(
        configured('[publish]\nprovider = "rfc2136"\nkey_secret_file = "/nowhere/tsig"\n'),
        CONFIG,
        ("TSIG key file /nowhere/tsig", "No such file"),
    ),
    "busy UDP port": Case(
        bound(socket.SOCK_DGRAM, "0.0.0.0", 5847), FAILED, ("UDP port 5847", "`ss ", "[transport] port")
    ),
    "busy DNS address": Case(
        bound(socket.SOCK_DGRAM, "127.0.0.47", 53), FAILED, ("127.0.0.47:53 (UDP)", "`ss ", "[dns] listen")
    ),
    "busy DNS address over TCP": Case(
        bound(socket.SOCK_STREAM, "127.0.0.47", 53), FAILED, ("127.0.0.47:53 (TCP)", "`ss ", "[dns] listen")
    ),
    "busy metrics port": Case(busy_metrics, FAILED, ("TCP port 9847", "`ss ", "[metrics] port")),
    "DNS address of another host": Case(
        configured('[dns]\nlisten = "192.0.2.77:53"\n'), CONFIG, ("[dns]", "192.0.2.77:53", "loopback")
    ),
    "no /dev/net/tun": Case(
        mounted("mount -t tmpfs none /dev/net"),
        FAILED,
        ("/dev/net/tun is missing", "`modprobe tun`", "--device"),
    ),
    "no CAP_NET_ADMIN": Case(without("net_admin"), FAILED, ("not permitted", "run as root", "CAP_NET_ADMIN")),
    "no CAP_NET_BIND_SERVICE": Case(
        without("net_bind_service"), FAILED, ("127.0.0.47:53", "Permission denied")
    ),
    "route in the subnet": Case(
        lambda one, _: one.space.ip("route add 240.7.0.0/16 via 192.0.2.1"),
        FAILED,
        ("[tun] subnet = 240.0.0.0/4", "240.7.0.0/16 dev eth0", "set another subnet"),
    ),
    "subnet around the host": Case(
        configured('[tun]\nsubnet = "192.0.0.0/16"\n'),
        FAILED,
        ("[tun] subnet = 192.0.0.0/16", "192.0.2.0/24 dev eth0", "set another subnet"),
    ),
    "somebody's tun0": Case(
        lambda one, _: one.space.ip("link add tun0 type veth peer name tun1"),
        FAILED,
        ("tun0 exists already", "`ip link delete tun0`", "[tun] interface"),
    ),
    "newer store": Case(newer_store, CONFIG, ("state.db", "newer vipnet", "schema 99", "state_dir")),
    "damaged store": Case(damaged_store, FAILED, ("state.db", "damaged", "`mv ")),
    "state_dir is a file": Case(
        lambda one, _: one.state.write_text(""), FAILED, ("state is not a directory", "state_dir")
    ),
    "state_dir is read-only": Case(
        mounted("mount -t tmpfs -o ro none {state}"),
        FAILED,
        ("state.db", "Read-only file system", "state_dir"),
    ),
    "run_dir is a file": Case(
        lambda one, _: one.run.write_text(""), FAILED, ("run_dir = ", "not a directory", "set run_dir")
    ),
    "run_dir is too long for a socket": Case(
        lambda one, _: one.configure(run_dir=one.directory / ("d" * 100)), FAILED, ("d" * 100, "run_dir")
    ),
    "resolv.conf is read-only": Case(
        mounted("mount -o remount,bind,ro /etc/resolv.conf"),
        FAILED,
        ("/etc/resolv.conf", "Read-only file system", '[dns] hook = "none"'),
    ),
}


@pytest.fixture
def one() -> Iterator[Machine]:
    need_program("unshare")
    with machine() as made:
        yield made


def reason(err: str) -> str:
    """The one line that begins with `vipnet: `; around it may be the log, of one line an event."""
    lines = err.splitlines()
    (line,) = (line for line in lines if line.startswith("vipnet: "))
    assert line == lines[-1]
    assert all(" INFO " in one or " WARNING " in one for one in lines[:-1]), err
    return line


@pytest.mark.parametrize("name", CASES)
def test_a_mistake_is_one_line_and_leaves_nothing(one: Machine, name: str) -> None:
    case = CASES[name]
    with ExitStack() as held:
        case.spoil(one, held)
        before = one.traces()
        up = one.vipnet("up")
        assert one.traces() == before
        assert (up.status, up.out) == (case.status, "")
        assert up.err.count("\n") == 1
        for words in case.words:
            assert words in reason(up.err)

        run = one.vipnet("run")
        assert one.traces() == before
        assert (run.status, run.out) == (case.status, "")
        assert reason(run.err) == up.err.rstrip("\n")


def test_a_good_machine_is_left_as_it_was(one: Machine) -> None:
    """The same look finds what a running daemon has made, or it would find nothing."""
    before = one.traces()
    up = one.vipnet("up")
    assert (up.status, up.err) == (0, "")
    during = one.traces()
    assert all(during[what] != before[what] for what in ("interfaces", "addresses", "routes", "resolv.conf"))
    assert one.vipnet("down").status == 0
    assert one.traces() == before


def test_a_second_daemon_is_refused_and_harms_nothing(one: Machine) -> None:
    assert one.vipnet("up").status == 0
    before = one.traces()
    second = one.vipnet("run")
    assert (second.status, second.out) == (FAILED, "")
    assert "already running as process " in reason(second.err)
    assert "`vipnet down`" in reason(second.err)
    again = one.vipnet("up")
    assert (again.status, again.err) == (0, "")
    assert one.traces() == before


def test_a_refused_start_after_a_crash_puts_the_names_back_and_down_the_rest(one: Machine) -> None:
    before = one.traces()
    assert one.vipnet("up").status == 0
    os.kill(int((one.run / "vipnet.pid").read_text()), signal.SIGKILL)
    wait_until(lambda: one.traces()["processes"] == before["processes"], "the end of the daemon")
    left = one.traces()
    assert left["resolv.conf"] != before["resolv.conf"]
    assert "unreachable 240.0.0.0/4" in str(left["routes"])
    with ExitStack() as held:

        def taken() -> bool:
            with contextlib.suppress(OSError):
                bound(socket.SOCK_DGRAM, "0.0.0.0", 5847)(one, held)
                return True
            return False

        wait_until(taken, "the port: what was killed has it for a moment after its end")
        assert one.vipnet("up").status == FAILED
        assert {**one.traces(), "routes": before["routes"]} == before
    assert one.vipnet("down").status == 0
    assert one.traces() == before


def test_a_name_server_that_refuses_the_key_is_named(one: Machine, tmp_path: Path) -> None:
    before = one.traces()
    tsig = one.directory / "tsig"
    tsig.write_text("bm90IHRoZSBzZWNyZXQgdGhhdCBCSU5EIGhhcw==\n")
    tsig.chmod(0o600)
    with ExitStack() as held:
        bind = one.space.call(lambda: held.enter_context(running_bind(tmp_path / "bind", host="127.0.0.1")))
        publish = f"""\
[publish]
provider = "rfc2136"
server = "{bind.server.host}"
port = {bind.server.port}
zone = "{bind.zone}"
key_name = "a.{bind.zone}"
key_secret_file = "{tsig}"
[dns]
upstreams = ["{bind.server}"]
"""
        one.configure(publish)
        up = one.vipnet("up")
        assert (up.status, up.out) == (NOT_READY, "")
        assert up.err.count("\n") == 1
        for words in (
            "not ready: publishing by rfc2136 is refused",
            f"{bind.server}",
            "BADSIG",
            "[publish] key_secret_file",
            "a.vipip.test",
        ):
            assert words in reason(up.err)
        assert one.vipnet("down").status == 0
        after = one.traces()
    assert {**after, "processes": before["processes"]} == before

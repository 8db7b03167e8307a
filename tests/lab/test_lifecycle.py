"""Whole labs, by the commands people type."""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import tty
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from tests.lab.labs import Lab, run, running_lab, wait_until
from tests.schema import hold
from tests.support import need_program, need_root

from vipnet.errors import HostError
from vipnet.lab import lifecycle, named
from vipnet.lab.layout import labs_directory
from vipnet.lab.processes import running, with_arguments
from vipnet.lab.topology import lab_namespaces


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """Nothing here moves a host; whoever does brings it back."""
    with running_lab("--legacy", dns="embedded") as up:
        yield up


def nothing_left(name: str) -> None:
    assert lab_namespaces(name) == []
    assert not (labs_directory() / name).exists()
    for label in ("a", "b"):
        config = labs_directory() / name / label / "config.toml"
        assert with_arguments(("run", "--config", str(config))) == []
    settings = labs_directory() / name / "dns" / "settings.json"
    assert with_arguments((str(settings),)) == []


# --- exec


def test_a_command_s_exit_status_is_ours(lab: Lab) -> None:
    assert lab.on("a", "sh", "-c", "exit 7", check=False).returncode == 7
    assert lab.on("a", "true", check=False).returncode == 0
    assert lab.on("a", "no-such-command", check=False).returncode == 127
    assert lab.on("a", "/etc", check=False).returncode == 126
    assert lab.on("a", "sh", "-c", "kill -9 $$", check=False).returncode == -signal.SIGKILL


def test_arguments_arrive_as_they_are(lab: Lab) -> None:
    words = ["--help", "-n", "two words", "", "--", "$HOME"]
    done = lab.on("a", "sh", "-c", 'printf "%s\\n" "$@"', "sh", *words)
    assert done.stdout.splitlines() == words


def test_standard_input_goes_through(lab: Lab) -> None:
    done = subprocess.run(
        lab.command_on("b", "cat"), input="by hand\n", capture_output=True, text=True, timeout=30
    )
    assert done.stdout == "by hand\n"


def test_a_terminal_goes_through(lab: Lab) -> None:
    ours, theirs = os.openpty()
    tty.setraw(theirs)
    try:
        done = subprocess.run(
            lab.command_on("a", "sh", "-c", "test -t 0 && test -t 1"), stdin=theirs, stdout=theirs, timeout=30
        )
        assert done.returncode == 0
    finally:
        os.close(ours)
        os.close(theirs)


def test_a_host_has_its_own_network_and_files(lab: Lab) -> None:
    machine = Path("/etc/resolv.conf").read_bytes()
    assert lab.on("a", "ls", "/sys/class/net").stdout.split() == ["eth0", "eth1", "lo", "tun0"]
    assert "127.0.0.47" in lab.on("a", "cat", "/etc/resolv.conf").stdout
    assert "10.201.1.1" in lab.on("c", "cat", "/etc/resolv.conf").stdout
    assert "hosts: files dns" in lab.on("a", "cat", "/etc/nsswitch.conf").stdout
    assert Path("/etc/resolv.conf").read_bytes() == machine


def test_vipnet_on_a_host_is_that_host_s(lab: Lab) -> None:
    for label in ("a", "b"):
        assert lab.ask(label, "status")["name"] == f"{label}.vipip.net"
    assert lab.on("c", "sh", "-c", "echo ${VIPNET_CONFIG-none}").stdout == "none\n"
    assert lab.on("r", "ls", "/sys/class/net").stdout.split()[-3:] == ["lan1", "lan2", "lo"]


def test_names_work(lab: Lab) -> None:
    assert lab.can_ping("a", "b.vipip.net")
    token = lab.host("b")["token"]
    assert lab.on("a", "getent", "hosts", "b.vipip.net").stdout.split()[0] == token
    assert lab.on("a", "getent", "hosts", "c.vipip.net").stdout.split()[0] == "10.201.1.30"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("exec", "x", "--", "true"), "has no host 'x'; it has a, b, c"),
        (("move", "x"), "has no host 'x'"),
        (("move", "a", "--kind", "family"), "`lab up --ipv6`"),
        (("move", "a", "--lan", "1"), "a is on LAN 1 already"),
        (("move", "a", "--kind", "nonsense"), "nonsense"),
        (("exec", "a"), "COMMAND"),
        (("exec", "a", "--"), "COMMAND"),
    ],
)
def test_mistakes_are_usage_and_one_line(lab: Lab, arguments: tuple[str, ...], words: str) -> None:
    done = run(lab.command(arguments[0], *arguments[1:]), check=False)
    assert done.returncode == 2
    assert words in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not done.stdout


# --- status and move


def test_status_is_as_others_rely_on(lab: Lab) -> None:
    status = lab.status()
    hold(status, "lab-status")
    assert status["name"] == lab.name
    assert status["hosts"].keys() == {"a", "b", "c"}
    for label, address in (("a", "10.201.1.10"), ("b", "10.201.2.20")):
        host = status["hosts"][label]
        assert host["address"] == address
        assert Path(f"/proc/{host['pid']}").is_dir()
        assert host["token"] == lab.ask(label, "status")["tun"]["token"]
        assert Path(host["config"]).is_file()
        assert Path(host["state_dir"]).is_dir()
    c = status["hosts"]["c"]
    assert [c[key] for key in ("pid", "config", "state_dir", "token")] == [None] * 4
    assert status["dns"]["kind"] == "embedded"
    assert "b.vipip.net." in Path(status["dns"]["log"]).read_text().lower()


def test_status_for_people_has_the_same(lab: Lab) -> None:
    text = run(lab.command("status")).stdout
    for host in lab.status()["hosts"].values():
        assert host["address"] in text


def test_moves_are_as_others_rely_on(lab: Lab) -> None:
    for _ in range(2):
        moves = lab.move("both")
        hold({"moves": moves}, "lab-move")
        assert [move["host"] for move in moves] == ["a", "b"]
    assert lab.host("a")["address"] == "10.201.1.10"


def test_the_zone_follows_a_move(lab: Lab) -> None:
    for _ in range(2):
        (move,) = lab.move("b")

        def published(address: str = move["to"]) -> bool:
            return bool(lab.ask("b", "status")["publish"]["address"] == address)

        wait_until(published, "the new address is in DNS")


def test_the_name_server_is_late_to_order(lab: Lab) -> None:
    run(lab.command("dns", "--delay", "80"))
    try:
        steps = {step["id"]: step["ms"] for step in lab.ask("a", "resolve", "c.vipip.net")["steps"]}
        assert max(steps.values()) >= 80
    finally:
        run(lab.command("dns"))


# --- up and down


def test_a_name_is_used_once(lab: Lab) -> None:
    done = run(lab.command("up"), check=False)
    assert done.returncode == 1
    assert "up already" in done.stderr
    assert f"`vipnet lab down --name {lab.name}`" in done.stderr
    assert lab.can_ping("a", "b.vipip.net"), "the first is unharmed"


def test_what_is_not_up_says_so_and_goes_down_all_the_same() -> None:
    other = Lab(f"t-{secrets.token_hex(4)}")
    for verb in ("status", "move", "exec"):
        arguments = {"status": (), "move": ("a",), "exec": ("a", "true")}[verb]
        done = run(other.command(verb, *arguments), check=False)
        assert done.returncode == 1
        assert f"`vipnet lab up --name {other.name}`" in done.stderr
    run(other.command("down"))


@pytest.mark.parametrize("name", ["../etc", "a/b", "..", ""])
def test_a_name_is_never_a_path(name: str) -> None:
    for verb in ("up", "down"):
        done = run(Lab(name).command(verb), check=False)
        assert done.returncode == 2, done.stderr
        assert "--name" in done.stderr


def test_down_leaves_nothing_even_of_what_hangs() -> None:
    with running_lab(dns="embedded") as lab:
        pid = lab.host("a")["pid"]
        os.kill(pid, signal.SIGSTOP)
        run(lab.command("down"))
        nothing_left(lab.name)
        assert running(pid) is None


@pytest.mark.parametrize("stage", ["namespaces", "name server", "daemons"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_interrupted_up_leaves_nothing(stage: str, number: signal.Signals) -> None:
    need_root()
    need_program("ip")
    lab = Lab(f"t-{secrets.token_hex(4)}")
    directory = labs_directory() / lab.name
    stages: dict[str, Callable[[], object]] = {
        "namespaces": partial(lab_namespaces, lab.name),
        "name server": (directory / "dns" / "pid.json").exists,
        "daemons": (directory / "a" / "run" / "vipnet.log").exists,
    }
    popen = subprocess.Popen(lab.command("up"), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        wait_until(stages[stage], stage)
        popen.send_signal(number)
        _, stderr = popen.communicate(timeout=60)
        assert "Traceback" not in stderr
        if popen.returncode == 0:
            pytest.fail(f"up was faster than signal {number}")
        nothing_left(lab.name)
    finally:
        popen.kill()
        popen.wait()
        run(lab.command("down"))


def test_a_daemon_that_does_not_start_says_why_and_nothing_is_left() -> None:
    need_root()
    need_program("ip")
    lab = Lab(f"t-{secrets.token_hex(4)}")
    done = run(lab.command("up", "--subnet", "10.201.0.0/16"), check=False)
    assert done.returncode != 0
    assert "a: `vipnet up`:" in done.stderr
    assert "10.201.0.0/16" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    nothing_left(lab.name)


def test_without_bind_the_package_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("shutil.which", lambda *_args, **_options: None)
    with pytest.raises(HostError, match="apt install bind9"):
        named.prepare(tmp_path, tmp_path / "log", [], {}, [])


def test_two_labs_at_once(lab: Lab) -> None:
    with running_lab("--ipv6", dns="bind") as other:
        left_behind = subprocess.Popen(other.command_on("a", "sleep", "600"))
        assert other.can_ping("a", "b.vipip.net")
        assert lab.can_ping("a", "b.vipip.net")
        hold(other.status(), "lab-status")
        assert other.status()["dns"]["kind"] == "bind"
        (move,) = other.move("a", "--kind", "family")
        assert move["to"] == "fd00:201:1::10"
        wait_until(lambda: other.can_ping("a", "b.vipip.net"), "a speaks to b over IPv6")
    nothing_left(other.name)
    assert left_behind.wait(timeout=30) != 0  # what runs in a lab ends with it


def test_a_lab_is_known_by_its_file(lab: Lab) -> None:
    layout = lifecycle.load(lab.name)
    assert [host.label for host in layout.hosts] == ["a", "b", "c"]
    assert json.loads((layout.directory / "lab.json").read_bytes())["spec"]["legacy"] is True
    assert all(file.stat().st_mode & 0o077 == 0 for file in (layout.tsig_file("a"), layout.key_file("a")))

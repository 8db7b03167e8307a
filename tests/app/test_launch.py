"""Start, wait until ready, stop, clean: with daemons that do as told, and some that do not."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.app import fake_daemon
from tests.cli.support import short_directory, vipnet, write_config

from vipnet.app import launch
from vipnet.app.config import Config, load_config
from vipnet.errors import ConfigError, HostError, NotReadyError, VipnetError
from vipnet.system.survey import ports
from vipnet.system.survey.ports import Listener

# What `up` starts is meant to outlive it.
pytestmark = pytest.mark.filterwarnings("ignore:subprocess .* is still running:ResourceWarning")


class Host:
    """A configuration in a directory of its own, and daemons that behave as they are told."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.config_path = write_config(directory)
        self.config: Config = load_config(self.config_path)
        self.run_dir = self.config.run_dir
        self.cleaned = 0
        self._monkeypatch = monkeypatch
        monkeypatch.setattr("vipnet.app.leftovers.clean", self._clean)

    def _clean(self, config: Config) -> None:
        assert config == self.config
        self.cleaned += 1

    def behave(self, behaviour: str) -> None:
        program = (sys.executable, fake_daemon.__file__, behaviour)
        self._monkeypatch.setattr(launch, "_PROGRAM", program)

    def wait_until_it_runs(self) -> int:
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            if (pid := launch.running_pid(self.run_dir)) is not None:
                return pid
            time.sleep(0.01)
        pytest.fail("no daemon after 20 s")

    def log(self) -> str:
        return (self.run_dir / launch.LOG_NAME).read_text()


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    with short_directory() as directory:
        one = Host(directory, monkeypatch)
        one.behave("normal")
        yield one
        pid = launch.running_pid(one.run_dir)
        if pid is not None:
            os.kill(pid, signal.SIGKILL)


# --- the lock


def test_the_lock_tells_who_runs(tmp_path: Path) -> None:
    assert launch.running_pid(tmp_path / "none") is None
    with launch.run_lock(tmp_path / "run"):
        assert launch.running_pid(tmp_path / "run") == os.getpid()
        with (
            pytest.raises(HostError, match=f"already running as process {os.getpid()}: `vipnet down`"),
            launch.run_lock(tmp_path / "run"),
        ):
            pytest.fail("two daemons in one run directory")
        assert launch.running_pid(tmp_path / "run") == os.getpid()
    assert launch.running_pid(tmp_path / "run") is None


def test_a_stale_process_id_is_not_believed(tmp_path: Path) -> None:
    (tmp_path / launch.LOCK_NAME).write_text(f"{os.getppid()}\n")
    assert launch.running_pid(tmp_path) is None
    with launch.run_lock(tmp_path):
        assert launch.running_pid(tmp_path) == os.getpid()


def test_who_asks_does_not_keep_a_daemon_from_starting(tmp_path: Path) -> None:
    stop = threading.Event()

    def ask() -> None:
        while not stop.is_set():
            launch.running_pid(tmp_path)

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        for _ in range(20):
            with launch.run_lock(tmp_path):
                pass
    finally:
        stop.set()
        thread.join()


def test_a_directory_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(HostError, match=r"run_dir = .*Not a directory"),
        launch.run_lock(tmp_path / "file" / "run"),
    ):
        pytest.fail("no directory, yet a lock")


# --- up


def test_up_waits_until_ready_and_down_until_gone(host: Host) -> None:
    assert launch.start(host.config_path) is True
    pid = launch.running_pid(host.run_dir)
    assert pid is not None
    assert os.getsid(pid) == pid != os.getsid(0)
    assert launch.stop(host.config) is True
    assert launch.running_pid(host.run_dir) is None
    assert "asked to stop {'unpublish': False}" in host.log()


def test_up_says_once_whom_partners_can_reach(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    waiting = (Listener(22, "tcp", "0.0.0.0", "sshd"), Listener(631, "tcp", "127.0.0.1", "cupsd"))
    monkeypatch.setattr(ports, "listeners", lambda: waiting)
    for said in (
        "a.vipip.net is ready\nPartners can reach, unless a firewall is in the way: sshd (22)\n",
        "a.vipip.net is running already, and ready\n",
    ):
        assert vipnet("up", "--config", host.config_path) == (0, said, "")


def test_both_can_be_said_twice(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "listeners", lambda: ())
    assert vipnet("up", "--config", host.config_path) == (0, "a.vipip.net is ready\n", "")
    pid = launch.running_pid(host.run_dir)
    assert vipnet("up", "--config", host.config_path) == (
        0,
        "a.vipip.net is running already, and ready\n",
        "",
    )
    assert launch.running_pid(host.run_dir) == pid
    assert vipnet("down", "--config", host.config_path) == (0, "a.vipip.net is stopped\n", "")
    assert vipnet("down", "--config", host.config_path) == (0, "a.vipip.net is not running; cleaned up\n", "")
    assert host.cleaned >= 1


@pytest.mark.parametrize(("behaviour", "kind"), [("exit1", HostError), ("exit2", ConfigError)])
def test_a_daemon_that_cannot_start_says_why(host: Host, behaviour: str, kind: type[VipnetError]) -> None:
    host.behave(behaviour)
    with pytest.raises(VipnetError, match=r"^udp port 5847 is taken; set \[transport\] port$") as info:
        launch.start(host.config_path)
    assert type(info.value) is kind


def test_a_daemon_that_crashes_leads_to_its_log(host: Host) -> None:
    host.behave("crash")
    done = vipnet("up", "--config", host.config_path)
    assert (done.status, done.out) == (1, "")
    assert (
        done.err
        == f"vipnet: the daemon ended with exit status 1 before it was ready: see {host.run_dir}/vipnet.log\n"
    )
    assert "ZeroDivisionError" in host.log()


def test_the_log_of_the_run_before_is_kept(host: Host) -> None:
    host.behave("crash")
    with contextlib.suppress(HostError):
        launch.start(host.config_path)
    host.behave("exit1")
    with contextlib.suppress(HostError):
        launch.start(host.config_path)
    assert "ZeroDivisionError" in (host.run_dir / "vipnet.log.1").read_text()
    assert "udp port" in host.log()


def test_not_ready_in_time_names_the_missing_part_and_goes_on(host: Host) -> None:
    host.behave("never ready")
    with pytest.raises(NotReadyError, match=r"publishing by rfc2136 is pending: time-out at 10\.0\.0\.53"):
        launch.start(host.config_path, within_s=3)
    assert launch.running_pid(host.run_dir) is not None
    assert launch.stop(host.config)


def test_a_daemon_that_does_not_answer_is_not_ready(host: Host) -> None:
    host.behave("mute")
    with pytest.raises(NotReadyError, match="does not answer yet"):
        launch.start(host.config_path, within_s=0.1)
    host.wait_until_it_runs()


def test_two_at_once_have_one_daemon(host: Host) -> None:
    results: list[object] = []

    def up() -> None:
        try:
            results.append(launch.start(host.config_path))
        except VipnetError as error:
            results.append(error)

    threads = [threading.Thread(target=up) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results, key=repr) == [False, False, True]
    assert launch.running_pid(host.run_dir) is not None


# --- down


@pytest.mark.parametrize("behaviour", ["deaf", "stubborn", "mute"])
def test_down_does_not_take_no_for_an_answer(
    host: Host, behaviour: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    host.behave(behaviour)
    with contextlib.suppress(NotReadyError):
        launch.start(host.config_path, within_s=0.1 if behaviour == "mute" else 10)
    host.wait_until_it_runs()
    monkeypatch.setattr(launch, "STOP_S", 0.2)
    assert launch.stop(host.config) is True
    assert launch.running_pid(host.run_dir) is None


def test_down_cleans_up_behind_a_daemon_that_was_killed(host: Host) -> None:
    launch.start(host.config_path)
    pid = launch.running_pid(host.run_dir)
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    assert launch.stop(host.config) is False
    assert host.cleaned == 1
    # Its socket is still there; the next one replaces it.
    assert launch.start(host.config_path) is True


def test_unpublish_reaches_the_daemon_and_needs_none(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    withdrawn: list[Config] = []
    monkeypatch.setattr("vipnet.app.trial.withdraw", withdrawn.append)
    launch.start(host.config_path)
    launch.stop(host.config, unpublish=True)
    assert "asked to stop {'unpublish': True}" in host.log()
    assert withdrawn == []
    launch.stop(host.config, unpublish=True)
    assert withdrawn == [host.config]


def test_a_daemon_that_refuses_with_a_reason_goes_on(host: Host) -> None:
    host.behave("refusing")
    launch.start(host.config_path)
    done = vipnet("down", "--unpublish", "--config", host.config_path)
    assert done == (1, "", "vipnet: still running: the DNS provider does not answer\n")
    assert launch.running_pid(host.run_dir) is not None
    assert host.cleaned == 0


# --- what is missing


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"tun": {"interface": "tun0", "token": None}}, "tun0 is not up yet"),
        ({"state": "detached"}, "no usable network address"),
        ({}, "publishing by rfc2136 is pending: time-out at 10.0.0.53"),
        (
            {"publish": {**fake_daemon.STARTING["publish"], "error": None}},
            "publishing by rfc2136 is pending: a.vipip.net is not in DNS with 10.0.0.1 yet",
        ),
        (
            {"publish": {**fake_daemon.STARTING["publish"], "state": "ok"}, "dns": {"listen": None}},
            "the resolver is not up yet",
        ),
        (
            {"publish": {**fake_daemon.STARTING["publish"], "state": "ok"}},
            "the name servers of a.vipip.net do not answer with 10.0.0.1 yet",
        ),
        (
            {"publish": {**fake_daemon.STARTING["publish"], "state": "off"}, "state": "cloned-key"},
            "its state is 'cloned-key'",
        ),
    ],
)
def test_the_missing_part_has_a_name(change: dict[str, Any], words: str) -> None:
    assert launch.missing_part({**fake_daemon.STARTING, **change}).startswith(words)


def test_no_status_no_name() -> None:
    assert launch.missing_part(None).startswith("the daemon does not answer yet")


def test_run_says_that_one_runs_already(host: Host) -> None:
    launch.start(host.config_path)
    done = subprocess.run(
        [sys.executable, "-m", "vipnet", "run", "--config", host.config_path], capture_output=True, text=True
    )
    assert done.returncode == 1
    assert done.stderr.startswith("vipnet: already running as process ")
    assert done.stderr.count("\n") == 1

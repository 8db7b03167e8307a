from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from vipnet.errors import HostError
from vipnet.lab import processes
from vipnet.lab.processes import Process

SLEEP = [sys.executable, "-c", "import time; print('here', flush=True); time.sleep(60)"]


def test_a_process_is_found_again_and_stopped(tmp_path: Path) -> None:
    record, log = tmp_path / "pid.json", tmp_path / "log"
    popen = processes.start(SLEEP, log, record)
    found = processes.recorded(record)
    assert found is not None
    assert found.pid == popen.pid
    processes.stop(found)
    assert processes.recorded(record) is None
    assert popen.wait(10) == -signal.SIGTERM


def test_one_that_will_not_stop_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "_STOP_S", 0.1)
    stubborn = (
        "import signal, time; signal.signal(15, signal.SIG_IGN); print('x', flush=True); time.sleep(60)"
    )
    popen = subprocess.Popen([sys.executable, "-c", stubborn], stdout=subprocess.PIPE)
    assert popen.stdout is not None
    popen.stdout.read(1)
    process = processes.running(popen.pid)
    assert process is not None
    processes.stop(process)
    assert popen.wait(10) == -signal.SIGKILL
    popen.stdout.close()


def test_a_number_that_came_round_again_is_somebody_else(tmp_path: Path) -> None:
    """Stopping what a record of long ago names must not stop us."""
    me = processes.running(os.getpid())
    assert me is not None
    earlier = Process(me.pid, me.started - 1)
    assert not processes.alive(earlier)
    processes.stop(earlier)
    (tmp_path / "pid.json").write_bytes(msgspec.json.encode(earlier))
    assert processes.recorded(tmp_path / "pid.json") is None


def test_a_dead_child_does_not_run() -> None:
    popen = subprocess.Popen([sys.executable, "-c", ""])
    os.waitid(os.P_PID, popen.pid, os.WEXITED | os.WNOWAIT)  # dead, and its status not taken: a zombie
    assert processes.running(popen.pid) is None
    popen.wait()
    assert processes.running(popen.pid) is None


def test_a_name_with_brackets_is_read(tmp_path: Path) -> None:
    program = tmp_path / "a) R 1 (b"
    program.symlink_to("/bin/sleep")
    popen = subprocess.Popen([program, "60"])
    try:
        found = processes.running(popen.pid)
        assert found is not None
        ours = processes.running(os.getpid())
        assert ours is not None
        assert found.started >= ours.started
    finally:
        popen.kill()
        popen.wait()


def test_processes_are_found_by_how_they_were_called(tmp_path: Path) -> None:
    mark = str(tmp_path / "config.toml")
    popen = subprocess.Popen([*SLEEP, "run", "--config", mark], stdout=subprocess.PIPE)
    assert popen.stdout is not None
    popen.stdout.read(1)
    try:
        assert [one.pid for one in processes.with_arguments(("run", "--config", mark))] == [popen.pid]
        assert processes.with_arguments(("--config", mark + "x")) == []
        assert processes.with_arguments(("up", "--config", mark)) == []
    finally:
        popen.kill()
        popen.communicate()


def test_no_record_is_no_process(tmp_path: Path) -> None:
    assert processes.recorded(tmp_path / "none") is None
    (tmp_path / "broken").write_text("{")
    assert processes.recorded(tmp_path / "broken") is None


def test_last_words(tmp_path: Path) -> None:
    log = tmp_path / "log"
    assert processes.last_line(log) == "without a word"
    log.write_text("one\ntwo\n\n")
    assert processes.last_line(log) == "two"


def test_what_cannot_start_is_said(tmp_path: Path) -> None:
    with pytest.raises((HostError, FileNotFoundError)):
        processes.start([str(tmp_path / "none")], tmp_path / "log", tmp_path / "record")

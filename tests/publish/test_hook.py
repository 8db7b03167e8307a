"""The hook: what a program gets, and what its end means."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest
import trio
from tests.publish.doubles import RECORD

from vipnet.errors import PublishError
from vipnet.names.desired import Desired
from vipnet.publish.hook import Hook
from vipnet.types import Fqdn

ME = Fqdn("laptop.example.org")
DESIRED = Desired(ME, ("192.0.2.1", "2001:db8::1"), RECORD, 60)


def script(text: str) -> Hook:
    return Hook(("/bin/sh", "-c", text))


def refused(hook: Hook) -> PublishError:
    with pytest.raises(PublishError) as caught:
        trio.run(hook.publish, DESIRED)
    return caught.value


def test_what_it_gets(tmp_path: Path) -> None:
    order = tmp_path / "order"
    hook = Hook(("/bin/sh", "-c", 'cat >"$0"; echo ignored', str(order)))
    assert trio.run(hook.publish, DESIRED) == DESIRED.addresses
    assert json.loads(order.read_text()) == {
        "action": "publish",
        "name": ME,
        "ipv4": ["192.0.2.1"],
        "ipv6": ["2001:db8::1"],
        "ttl_s": 60,
        "txt": {f"_vip.{ME}": str(RECORD)},
    }
    trio.run(hook.withdraw, Desired(ME, ()))
    order_again = json.loads(order.read_text())
    assert (order_again["action"], order_again["txt"]) == ("withdraw", {f"_vip.{ME}": None})


@pytest.mark.parametrize(("status", "permanent"), [(1, False), (75, False), (77, True), (78, True)])
def test_exit_status(status: int, permanent: bool) -> None:
    error = refused(script(f"echo more >&2; echo no such zone >&2; exit {status}"))
    assert error.permanent is permanent
    assert str(error) == f'/bin/sh ended with status {status}, "no such zone"'


def test_a_signal() -> None:
    assert str(refused(script("kill -SEGV $$"))) == "/bin/sh ended by signal 11"


def test_one_that_reads_nothing_and_says_too_much() -> None:
    error = refused(script("exec <&-; head -c 300000 /dev/zero | tr '\\0' x >&2; exit 1"))
    assert len(str(error)) < 300


def test_the_environment_holds_no_credentials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", "/run/credentials/vipnet")
    out = tmp_path / "env"
    trio.run(Hook(("/bin/sh", "-c", 'env >"$0"', str(out))).publish, DESIRED)
    assert "CREDENTIALS" not in out.read_text()
    assert "PATH=" in out.read_text()


@pytest.mark.parametrize("command", ["/nowhere/program", "/etc/passwd"])
def test_what_cannot_be_started(command: str) -> None:
    error = refused(Hook((command,)))
    assert error.permanent
    assert command in str(error)


def gone(pid: int) -> bool:
    """Whether PID has ended; a zombie has."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except OSError:
        return True


def test_one_that_hangs_is_killed_with_its_children(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    hook = Hook(("/bin/sh", "-c", 'sleep 600 & echo $$ $! >"$0"; wait', str(pids)), timeout_s=0.5)
    assert "still running after 0.5 s" in str(refused(hook))
    deadline = time.monotonic() + 10
    while not all(gone(int(pid)) for pid in pids.read_text().split()):
        assert time.monotonic() < deadline
        os.sched_yield()


def test_one_that_is_cancelled_is_killed(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    hook = Hook(("/bin/sh", "-c", 'echo $$ >"$0"; exec sleep 600', str(pid)))

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(hook.publish, DESIRED)
            with trio.fail_after(10):
                while not pid.exists() or not pid.read_text():  # noqa: ASYNC110 - a file, not a task
                    await trio.sleep(0.01)
            nursery.cancel_scope.cancel()

    trio.run(main)
    assert gone(int(pid.read_text()))

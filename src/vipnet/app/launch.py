"""Start the daemon in the foreground or the background, wait until it is ready, stop it.

A lock in the run directory says whether one runs, so that a stale process id can
neither be believed nor killed.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import trio

from vipnet.app import leftovers
from vipnet.app.config import Config, load_config
from vipnet.app.control import ask_daemon
from vipnet.app.logs import LogOptions, configure_logging
from vipnet.errors import ConfigError, HostError, NotReadyError, NotRunningError, VipnetError

LOCK_NAME: Final = "vipnet.pid"
LOG_NAME: Final = "vipnet.log"
READY_S: Final = 10.0  # a name server that answers at all takes an update in less
STOP_S: Final = 5.0  # from "down" to the end of the process; then SIGTERM, and after as long SIGKILL
# -P: as root, nothing is to be imported from wherever the user stands.
_PROGRAM: Final = (sys.executable, "-P", "-m", "vipnet")
_POLL_S: Final = 0.02
# `struct flock` of fcntl(2): the whole file, for one. Asking whether it is held does not take it.
_WHOLE_FILE: Final = struct.pack("hhqqi", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)


# --- one daemon a run directory


@contextlib.contextmanager
def run_lock(run_dir: Path) -> Iterator[None]:
    """Hold RUN_DIR for this process; raise HostError when another daemon has it."""
    try:
        run_dir.mkdir(parents=True, exist_ok=True)
        lock = os.open(run_dir / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise _run_dir_refused(run_dir, error) from None
    try:
        try:
            fcntl.fcntl(lock, fcntl.F_OFD_SETLK, _WHOLE_FILE)
        except (BlockingIOError, PermissionError):  # EAGAIN or EACCES, says fcntl(2)
            reason = f"already running as process {_read_pid(lock)}"
            raise HostError(f"{reason}: `vipnet down` stops it") from None
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
        yield
        os.ftruncate(lock, 0)
    finally:
        os.close(lock)


def _run_dir_refused(run_dir: Path, error: OSError) -> HostError:
    reason = "not a directory" if isinstance(error, FileExistsError) else error.strerror
    return HostError(
        f"run_dir = {run_dir}: {reason}; vipnet runs as root, or set run_dir to a directory of yours"
    )


def running_pid(run_dir: Path) -> int | None:
    """Process id of the daemon that holds RUN_DIR, None when there is none."""
    try:
        lock = os.open(run_dir / LOCK_NAME, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        (held,) = struct.unpack_from("h", fcntl.fcntl(lock, fcntl.F_OFD_GETLK, _WHOLE_FILE))
        return None if held == fcntl.F_UNLCK else _read_pid(lock)
    finally:
        os.close(lock)


def _read_pid(lock: int) -> int | None:
    text = os.pread(lock, 32, 0).strip()
    return int(text) if text.isdigit() else None


# --- start


def run(config_path: Path, log: LogOptions = LogOptions()) -> None:  # noqa: B008 - frozen
    """Be the daemon until it is told to stop; raise what stops it."""
    config = load_config(config_path)
    with run_lock(config.run_dir):
        from vipnet.app.daemon import run_daemon

        pace = configure_logging(log)
        trio.run(run_daemon, config, config_path.absolute(), lambda: pace.suppressed)


def start(
    config_path: Path,
    log: LogOptions = LogOptions(),  # noqa: B008 - frozen
    *,
    within_s: float = READY_S,
) -> bool:
    """Have a daemon that is ready; return True when there was none before.

    Raise NotReadyError, which names the missing part, when it runs and is not ready
    after WITHIN_S, or a part of it is refused for good; its own reason when it cannot start.
    """
    config = load_config(config_path)
    run_dir = config.run_dir
    deadline = time.monotonic() + within_s
    child: subprocess.Popen[bytes] | None = None
    while True:
        # One that is stopping holds the lock until it is gone; then it is our turn.
        if child is None and running_pid(run_dir) is None:
            child = _spawn(config_path, run_dir, log)
        status = _status(run_dir)
        if status is not None and status["state"] == "ready":
            ours = child is not None and running_pid(run_dir) == child.pid
            if child is not None and not ours:
                child.terminate()  # another `up` was faster; ours must not wait for its turn
            return ours
        if child is not None and child.poll() is not None:
            if running_pid(run_dir) is None:
                raise _start_failure(child.returncode, run_dir / LOG_NAME)
            child = None  # another `up` was faster
        if status is not None and status["publish"]["state"] == "refused":
            raise NotReadyError(f"running, but not ready: {missing_part(status)}")  # waiting would not help
        if time.monotonic() > deadline:
            reason = f"running, but not ready after {within_s:g} s: {missing_part(status)}"
            raise NotReadyError(f"{reason} (`vipnet doctor` looks for the cause)")
        time.sleep(_POLL_S)


def _spawn(config_path: Path, run_dir: Path, options: LogOptions) -> subprocess.Popen[bytes]:
    path = run_dir / LOG_NAME
    try:
        run_dir.mkdir(parents=True, exist_ok=True)
        # The run before: it may have crashed. Another `up` may have been faster to move it away.
        with contextlib.suppress(FileNotFoundError):
            path.replace(path.with_suffix(".log.1"))
        log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o640)
    except OSError as error:
        raise _run_dir_refused(run_dir, error) from None
    try:
        return subprocess.Popen(
            [*_PROGRAM, "run", "--config", str(config_path.absolute()), *options.arguments()],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            cwd="/",
        )
    finally:
        os.close(log)


def _status(run_dir: Path) -> dict[str, Any] | None:
    try:
        return ask_daemon(run_dir, "status", 1.0)
    except VipnetError:
        return None


def _start_failure(returncode: int, log: Path) -> VipnetError:
    """The reason that the daemon gave as its last words."""
    words = [line for line in log.read_text(errors="replace").splitlines() if line.startswith("vipnet: ")]
    kind = ConfigError if returncode == 2 else HostError
    if words:
        return kind(words[-1].removeprefix("vipnet: "))
    how = f"by signal {-returncode}" if returncode < 0 else f"with exit status {returncode}"
    return kind(f"the daemon ended {how} before it was ready: see {log}")


def missing_part(status: dict[str, Any] | None) -> str:
    """What keeps the daemon of STATUS (design: `status`) from being ready, for people."""
    if status is None:
        return "the daemon does not answer yet; its log says why"
    if not status["tun"]["token"]:
        return f"{status['tun']['interface']} is not up yet"
    if status["state"] == "detached":
        return "no usable network address; it goes on by itself once there is one"
    publish = status["publish"]
    if publish["state"] not in ("off", "ok"):
        reason = publish["error"] or f"{status['name']} is not in DNS with {publish['address']} yet"
        return f"publishing by {publish['provider']} is {publish['state']}: {reason}"
    if not status["dns"]["listen"]:
        return "the resolver is not up yet"
    if publish["state"] == "ok" and status["state"] == "starting":
        return f"the name servers of {status['name']} do not answer with {publish['address']} yet"
    return f"its state is {status['state']!r}"


# --- stop


def stop(config: Config, *, unpublish: bool = False) -> bool:
    """Have no daemon, and nothing of one on this host; return True when one ran.

    UNPUBLISH needs no daemon. Raise HostError when the provider refuses that; a daemon then goes on.
    """
    pid = running_pid(config.run_dir)
    agreed = pid is not None and _stop_process(pid, config.run_dir, unpublish=unpublish)
    # Who may stop a daemon need not be root; it cleans up behind itself when it stops in peace.
    if pid is None or os.geteuid() == 0:
        leftovers.clean(config)
    if unpublish and not agreed:
        from vipnet.app import trial

        trial.withdraw(config)
    return pid is not None


def _stop_process(pid: int, run_dir: Path, *, unpublish: bool) -> bool:
    """End the daemon, by force when it does not answer; return whether it agreed."""
    try:
        process = os.pidfd_open(pid)
    except ProcessLookupError:
        return False
    try:
        try:
            ask_daemon(run_dir, "down", unpublish=unpublish)
            agreed = True
        except NotRunningError:
            agreed = False  # it hangs, or is not yet there to be asked
        waits = ((STOP_S if agreed else 0, signal.SIGTERM), (STOP_S, signal.SIGKILL))
        for wait_s, signal_number in waits:
            if _ended(process, wait_s):
                return agreed
            try:
                signal.pidfd_send_signal(process, signal_number)
            except PermissionError:
                raise HostError(f"process {pid} does not stop when asked: try as root") from None
        if not _ended(process, STOP_S):
            raise HostError(
                f"process {pid} survives SIGKILL: the kernel hangs; see `dmesg`, restart the machine"
            )
        return agreed
    finally:
        os.close(process)


def _ended(process: int, within_s: float) -> bool:
    """Wait for the end of the process behind the pidfd (pidfd_open(2): it becomes readable)."""
    poll = select.poll()
    poll.register(process, select.POLLIN)
    return bool(poll.poll(within_s * 1000))

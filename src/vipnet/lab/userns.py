"""The lab for an ordinary user: root in a user namespace, where the system allows that.

A process in the background holds the user and mount namespaces of all of a user's
labs, so that `lab up` and a later `lab exec` meet there. In them /run is as it was,
but for /run/netns, which belongs to us.

    python -m vipnet.lab.userns RECORD
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

import msgspec

from vipnet.errors import HostError
from vipnet.lab import processes
from vipnet.lab.layout import ROOT_VARIABLE
from vipnet.lab.namespaces import (
    CLONE_NEWNET,
    CLONE_NEWNS,
    CLONE_NEWUSER,
    MS_BIND,
    MS_REC,
    attach,
    join,
    unshare,
)

_READY_S: Final = 5.0
_POLL_S: Final = 0.01
_RUN: Final = Path("/run")


def become_root() -> None:
    """As an ordinary user, enter the namespaces of one's labs; root stays as it is.

    For a process of one thread, for good. Raise HostError where the system forbids it.
    """
    if os.geteuid() == 0:
        return
    directory = _directory()
    record = directory / "holder.json"
    holder = processes.recorded(record) or _start_holder(record)
    # The network too: one can come back only to a namespace that is one's own.
    for kind, number in (("user", CLONE_NEWUSER), ("mnt", CLONE_NEWNS), ("net", CLONE_NEWNET)):
        join(Path(f"/proc/{holder.pid}/ns/{kind}"), number)
    os.environ[ROOT_VARIABLE] = str(directory)


def leave() -> None:
    """Let the namespaces go when no lab is left in them."""
    root = os.environ.get(ROOT_VARIABLE)
    if root is None or any(entry.is_dir() for entry in Path(root).iterdir()):
        return
    holder = processes.recorded(Path(root) / "holder.json")
    if holder is not None:
        processes.stop(holder)


def _directory() -> Path:
    home = os.environ.get("XDG_RUNTIME_DIR") or f"/tmp/vipnet-{os.getuid()}"  # noqa: S108 - made 0700, checked
    directory = Path(home) / "vipnet-lab"
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        owner = Path(home).stat().st_uid
    except OSError as error:
        raise HostError(f"{directory}: {error.strerror}; set XDG_RUNTIME_DIR, or be root") from None
    if owner != os.getuid():
        raise HostError(f"{home} is somebody else's; set XDG_RUNTIME_DIR, or be root")
    return directory


def _start_holder(record: Path) -> processes.Process:
    record.unlink(missing_ok=True)
    log = record.with_suffix(".log")
    with log.open("wb") as output:
        popen = subprocess.Popen(
            [sys.executable, "-P", "-m", "vipnet.lab.userns", str(record)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    deadline = time.monotonic() + _READY_S
    while (holder := processes.recorded(record)) is None:
        if popen.poll() is not None or time.monotonic() > deadline:
            reason = processes.last_line(log)
            raise HostError(f"the lab needs root (sudo), or user namespaces, which failed: {reason}")
        time.sleep(_POLL_S)
    return holder


# --- the holder


def hold(record: Path) -> None:
    """Make the namespaces, write RECORD and wait for a signal. Raise HostError."""
    uid, gid = os.getuid(), os.getgid()
    unshare(CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWNET, "a user namespace")
    # user_namespaces(7): without that, a group's denial of access could be dropped.
    Path("/proc/self/setgroups").write_text("deny", encoding="ascii")
    Path("/proc/self/uid_map").write_text(f"0 {uid} 1", encoding="ascii")
    Path("/proc/self/gid_map").write_text(f"0 {gid} 1", encoding="ascii")
    _own_run()
    process = processes.running(os.getpid())
    fresh = record.with_suffix(".new")
    fresh.write_bytes(msgspec.json.encode(process))
    fresh.replace(record)
    signal.pause()


def _own_run() -> None:
    """Put a /run of our own over the system's, with all that is in there; /run/netns stays out."""
    entries = {}
    for entry in _RUN.iterdir():
        if entry.name != "netns":
            with contextlib.suppress(OSError):
                entries[entry] = os.open(entry, os.O_PATH | os.O_CLOEXEC)
    attach("tmpfs", _RUN, kind="tmpfs")
    for entry, descriptor in entries.items():
        original = Path(f"/proc/self/fd/{descriptor}")
        if original.is_dir():
            entry.mkdir()
        else:
            entry.touch()
        # With what is mounted below: the kernel does not let a part of it be uncovered.
        attach(str(original), entry, flags=MS_BIND | MS_REC)
        os.close(descriptor)


def main() -> None:
    try:
        hold(Path(sys.argv[1]))
    except (HostError, OSError) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()

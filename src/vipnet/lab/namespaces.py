"""Enter a network namespace; give a host of the lab its own /etc.

Like ip-netns(8), but /etc/netns is left alone: a host's files are bind-mounted out
of the lab's directory, so that a lab that dies leaves nothing in /etc. Python has
setns and unshare from 3.12 on only.

Run as a program it is the way into a host:

    python -m vipnet.lab.namespaces NETNS FILES COMMAND...
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NoReturn

from vipnet.errors import HostError

CLONE_NEWNS: Final = 0x0002_0000  # sched.h
CLONE_NEWUSER: Final = 0x1000_0000
CLONE_NEWNET: Final = 0x4000_0000
MS_BIND, MS_REC, _MS_SLAVE = 0x1000, 0x4000, 0x8_0000  # sys/mount.h
_MNT_DETACH = 2

NETNS_DIRECTORY: Final = Path("/run/netns")  # iproute2's
_NEEDED: Final = frozenset({"resolv.conf"})
NSCD_DIRECTORY: Final = Path("/run/nscd")

_libc = ctypes.CDLL(None, use_errno=True)


def enter_host(netns: str, files: Path) -> None:
    """Become a process of a host: its network, and every file in FILES bound over /etc.

    For a process of one thread, for good. Raise HostError.
    """
    _join(NETNS_DIRECTORY / netns, CLONE_NEWNET, f"namespace {netns}")
    unshare(CLONE_NEWNS, "a mount namespace")
    # What is mounted from here on stays here; what the system mounts is still seen.
    attach(None, Path("/"), flags=MS_REC | _MS_SLAVE)
    # /sys shows the network namespace it was mounted in; not allowed everywhere, and rarely read.
    with contextlib.suppress(HostError):
        _check(_libc.umount2(b"/sys", _MNT_DETACH), "unmount /sys")
        attach("sysfs", Path("/sys"), kind="sysfs")
    for file in sorted(files.iterdir()):
        target = Path(os.path.realpath(Path("/etc") / file.name))
        if not target.exists():
            if file.name not in _NEEDED:
                continue  # nobody reads it; what the system does without it is the same
            raise HostError(f"/etc/{file.name} does not exist: `touch {target}`, for the lab to cover it")
        attach(str(file), target, flags=MS_BIND)
    if NSCD_DIRECTORY.is_dir():  # its cache would answer for the machine, not for the host
        attach("none", NSCD_DIRECTORY, kind="tmpfs")


@contextlib.contextmanager
def inside(netns: str) -> Iterator[None]:
    """This thread, in another network namespace: sockets opened here stay there."""
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        _join(NETNS_DIRECTORY / netns, CLONE_NEWNET, f"namespace {netns}")
        try:
            yield
        finally:
            _check(_libc.setns(home, CLONE_NEWNET), "come back to the own namespace")
    finally:
        os.close(home)


def write_sysctls(netns: str, values: dict[str, str]) -> None:
    """Set net.* variables; names as paths below /proc/sys/net."""
    with inside(netns):
        for name, value in values.items():
            Path("/proc/sys/net", name).write_text(value, encoding="ascii")


def join(path: Path, kind: int) -> None:
    """Raise HostError."""
    _join(path, kind, str(path))


def unshare(kind: int, what: str) -> None:
    _check(_libc.unshare(kind), f"make {what}")


def attach(source: str | None, target: Path, *, kind: str | None = None, flags: int = 0) -> None:
    """Mount SOURCE on TARGET. Raise HostError."""
    result = _libc.mount(
        source.encode() if source else None,
        os.fsencode(target),
        kind.encode() if kind else None,
        ctypes.c_ulong(flags),
        None,
    )
    _check(result, f"mount on {target}")


def _join(path: Path, kind: int, what: str) -> None:
    try:
        namespace = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        raise HostError(f"there is no {what}: is the lab up?") from None
    except OSError as error:
        raise HostError(f"cannot open {what}: {error.strerror}; the lab needs root") from None
    try:
        _check(_libc.setns(namespace, kind), f"enter {what}")
    finally:
        os.close(namespace)


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        mend = ": the lab needs root (CAP_SYS_ADMIN)" if number in (1, 13) else "; see `dmesg`"
        raise HostError(f"cannot {what}: {os.strerror(number)}{mend}")


def enter_command(netns: str, files: Path, command: list[str]) -> list[str]:
    """Return the argument list that runs COMMAND as a process of a host."""
    return [sys.executable, "-P", "-m", "vipnet.lab.namespaces", netns, str(files), *command]


def replace_process(command: list[str]) -> NoReturn:
    """Exec COMMAND, or exit as a shell does: 127 not found, 126 not executable."""
    sys.stdout.flush()
    sys.stderr.flush()
    try:
        os.execvp(command[0], command)  # noqa: S606 - running it is what this is for
    except FileNotFoundError:
        print(f"{command[0]}: command not found", file=sys.stderr)
        sys.exit(127)
    except OSError as error:
        print(f"{command[0]}: {error.strerror}", file=sys.stderr)
        sys.exit(126)


def main() -> NoReturn:
    netns, files, *command = sys.argv[1:]
    try:
        enter_host(netns, Path(files))
    except HostError as error:
        sys.exit(f"vipnet lab: {error}")
    replace_process(command)


if __name__ == "__main__":
    main()

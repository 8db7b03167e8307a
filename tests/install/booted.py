"""Debian with systemd as its process 1, in namespaces and a control group of its own, off any network.

The root is the one that `./run setup test-stack` unpacked, under an overlay: what a test does to it is
gone with the test. What runs in it dies with its process 1.
"""

from __future__ import annotations

import contextlib
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from tests.support import need, need_program, need_root

ROOT: Final = Path(sys.prefix) / "root"  # ./run: make_root
BOOT_S: Final = 120

NODES: Final = """
mkdir dev/net dev/pts dev/shm
while read -r name major minor; do mknod -m 666 "dev/$name" c "$major" "$minor"; done <<END
null 1 3
zero 1 5
full 1 7
random 1 8
urandom 1 9
tty 5 0
net/tun 10 200
END
"""
# $1: a directory of ours, $2: the root, $3: the control group's name, $4: what boots.
_ENTER = """
mount --make-rprivate /
mkdir -p "$1/cgroups" && mount -t cgroup2 none "$1/cgroups"
mkdir "$1/cgroups/$3" && echo $$ >"$1/cgroups/$3/cgroup.procs"
umount "$1/cgroups"
exec unshare --cgroup --fork --kill-child --pid --mount --net --uts --ipc sh -ec "$4" boot "$@"
"""
_BOOT = f"""
cd "$1" && mkdir -p upper work root
mount -t overlay overlay -o "lowerdir=$2,upperdir=upper,workdir=work" root
cd root
mount -t proc proc proc
mount -t sysfs -o ro sysfs sys
mount -t tmpfs -o mode=755 tmpfs dev
mount -t tmpfs -o mode=755 tmpfs run
mount -t tmpfs tmpfs sys/fs/cgroup
mount -t cgroup2 cgroup2 sys/fs/cgroup
{NODES}
mount --make-rshared . # as on a real machine: credentials are mounted from a namespace of their own
ip link set lo up
exec env -i container=vipnet-test PATH=/usr/sbin:/usr/bin chroot . /lib/systemd/systemd --log-target=null
"""
_LEAVE = """
mount --make-rprivate /
mkdir -p "$1/cgroups" && mount -t cgroup2 none "$1/cgroups"
find "$1/cgroups/$2" -depth -type d -exec rmdir {} +
"""


class Booted:
    """A machine that is up: `run` is a root shell on it."""

    def __init__(self, directory: Path, process_1: int) -> None:
        self.directory = directory
        self.process_1 = process_1

    def command(self, script: str) -> list[str]:
        """The argument list of a root shell there that runs SCRIPT."""
        enter = ("nsenter", "--target", str(self.process_1), "--all", "--root", "--wd")
        clean = ("env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root")
        return [*enter, *clean, "sh", "-ec", script]

    def run(self, script: str, *, check: bool = True) -> str:
        """What SCRIPT prints, on either stream."""
        done = subprocess.run(
            self.command(script),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=120,
        )
        assert not check or done.returncode == 0, f"{script}\nexit status {done.returncode}\n{done.stdout}"
        return done.stdout

    def property(self, name: str, unit: str = "vipnet.service") -> str:
        return self.run(f"systemctl show --property={name} --value {unit}").strip()

    def unpack(self, tree: Path) -> None:
        """Put all files below TREE into its root, as dpkg would: what a package has, but for its scripts."""
        packed = subprocess.run(
            ["tar", "-C", tree, "-c", "."], stdout=subprocess.PIPE, check=True, timeout=60
        )
        enter = ("nsenter", "--target", str(self.process_1), "--all", "--root", "--wd")
        subprocess.run(
            [*enter, "tar", "--keep-directory-symlink", "-C", "/", "-x"],
            input=packed.stdout,
            check=True,
            timeout=60,
        )

    def put(self, path: str, text: str, mode: int = 0o644) -> None:
        """Write TEXT to PATH there."""
        script = f"mkdir -p $(dirname {path}); umask 077; cat >{path} <<'__END__'\n{text}\n__END__\n"
        self.run(script + f"chmod {mode:o} {path}")


@contextlib.contextmanager
def booted(directory: Path, package: Path, older: Path | None = None) -> Iterator[Booted]:
    """A machine up, with PACKAGE at /root/vipnet.deb, OLDER at /root/older.deb, and none installed."""
    need_root()
    need_program("unshare", "nsenter", "ip")
    need(ROOT.is_dir(), f"a Debian root in {ROOT}")
    there = directory / "upper/root"
    there.mkdir(parents=True)
    there.chmod(0o700)
    shutil.copy(package, there / "vipnet.deb")
    if older is not None:
        shutil.copy(older, there / "older.deb")
    group = f"vipnet-test-{secrets.token_hex(4)}"
    enter = ("unshare", "--mount", "sh", "-ec", _ENTER, "enter", str(directory), str(ROOT), group, _BOOT)
    with (directory / "log").open("w") as log:
        process = subprocess.Popen(enter, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        yield _when_up(directory, process)
    finally:
        process.kill()  # and with it, by --kill-child, all that is in there
        process.wait()
        leave = ("unshare", "--mount", "sh", "-ec", _LEAVE, "leave", str(directory), group)
        wait_until(lambda: not subprocess.run(leave, capture_output=True).returncode, "it is gone")


def _when_up(directory: Path, process: subprocess.Popen[bytes]) -> Booted:
    log = directory / "log"
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    up: list[Booted] = []

    def is_up() -> bool:
        assert process.poll() is None, f"it ended: {log.read_text()}"
        for child in children.read_text().split():
            with contextlib.suppress(OSError):
                if Path(f"/proc/{child}/comm").read_text() == "systemd\n":
                    up[:] = [Booted(directory, int(child))]
        state = up[0].run("systemctl is-system-running", check=False).strip() if up else ""
        return state in ("running", "degraded")

    wait_until(is_up, "the machine is up", within_s=BOOT_S)
    return up[0]


def wait_until(condition: Callable[[], bool], what: str, *, within_s: float = 60) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {within_s:g} s: {what}"
        time.sleep(0.1)

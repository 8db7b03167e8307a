"""A name server's machine, as far as it takes: Debian's bind9 with a network and files of its own."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from tests.install.booted import wait_until
from tests.support import need_program, need_root

# $1: a directory of ours. BIND's own configuration is the one that Debian's package has.
_ENTER: Final = """
mount --make-rprivate /
mkdir bin lib cache
printf '#!/bin/sh\\nexec "$@"\\n' >bin/sudo
chmod 755 bin/sudo
chown bind lib cache
cp -a /etc/bind etc
for place in etc:/etc/bind lib:/var/lib/bind cache:/var/cache/bind; do
    mount --bind "${place%:*}" "${place#*:}"
done
mount -t tmpfs tmpfs /run
install -d -o bind /run/named
ip link set lo up
sysctl -qw net.ipv4.ip_forward=1
echo up
exec sleep infinity
"""


class NameServer:
    """`run` is a root shell there; `process_id` is of its namespaces."""

    def __init__(self, process_id: int, directory: Path) -> None:
        self.process_id = process_id
        self.directory = directory

    def command(self, script: str) -> list[str]:
        enter = ("nsenter", "--target", str(self.process_id), "--net", "--mount")
        path = f"{self.directory}/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        return [*enter, "env", "-i", f"PATH={path}", "sh", "-ec", script]

    def run(self, script: str) -> str:
        done = subprocess.run(
            self.command(script), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60
        )
        assert done.returncode == 0, f"{script}\nexit status {done.returncode}\n{done.stdout}"
        return done.stdout

    @contextlib.contextmanager
    def serving(self, zone: str) -> Iterator[None]:
        """With named running, which has ZONE; what it says is in DIRECTORY/log."""
        said = self.directory / "log"
        with said.open("w") as log:
            named = subprocess.Popen(self.command("exec named -g -u bind"), stdout=log, stderr=log)
        try:
            wait_until(lambda: f"zone {zone}/IN: loaded" in said.read_text(), "named has the zone")
            yield
        finally:
            named.kill()
            named.wait()


@contextlib.contextmanager
def name_server(directory: Path) -> Iterator[NameServer]:
    """A machine that is up; named is not started."""
    need_root()
    need_program("unshare", "nsenter", "ip", "named", "tsig-keygen")
    command = ("unshare", "--net", "--mount", "sh", "-ec", _ENTER)
    with subprocess.Popen(command, cwd=directory, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "up\n"
            yield NameServer(process.pid, directory)
        finally:
            process.kill()

"""A name server's machine, as far as it takes: Debian's bind9 with a network and files of its own."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from tests.install.booted import wait_until
from tests.install.room import Room, room
from tests.support import need_program

# BIND's own configuration is the one that Debian's package has.
_PREPARE: Final = """
mkdir lib cache
chown bind lib cache
cp -a /etc/bind etc
for place in etc:/etc/bind lib:/var/lib/bind cache:/var/cache/bind; do
    mount --bind "${place%:*}" "${place#*:}"
done
mount -t tmpfs tmpfs /run
install -d -o bind /run/named
ip link set lo up
sysctl -qw net.ipv4.ip_forward=1
"""


@contextlib.contextmanager
def name_server(directory: Path) -> Iterator[Room]:
    """The machine is up, named is not started. DIRECTORY/etc and lib are /etc/bind and /var/lib/bind."""
    need_program("ip", "named")
    with room(directory, _PREPARE, network=False) as machine:
        yield machine


@contextlib.contextmanager
def serving(machine: Room, zone: str) -> Iterator[None]:
    """With named running, which has ZONE; what it says is in the machine's DIRECTORY/log."""
    said = machine.directory / "log"
    with said.open("w") as log:
        named = subprocess.Popen(machine.command("exec named -g -u bind"), stdout=log, stderr=log)
    try:
        wait_until(lambda: f"zone {zone}/IN: loaded" in said.read_text(), "named has the zone")
        yield
    finally:
        named.kill()  # nsenter, which waits for it; named itself goes with the machine
        named.wait()

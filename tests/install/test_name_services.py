"""What keeps resolv.conf on real machines, as it is shipped, and how vipnet gets along with it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, Literal

import pytest
from msgspec import Struct
from tests.install.booted import Booted, booted, wait_until
from tests.support import need

pytestmark = pytest.mark.stack

# ./run test-stack unpacks them there: installed, they would change the machine's own look-ups.
DEBS = Path(sys.prefix) / "debs"
A, LEGACY, LEGACY_ADDRESS = "a.example.org", "www.example.org", "192.0.2.80"

# The network's name server, behind a cable: one name, and no other.
_SERVER = f"""
import socket, struct
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.bind(("192.0.2.1", 53))
while True:
    query, client = sock.recvfrom(4096)
    end = query.index(b"\\0", 12) + 5
    name, rdtype = query[12 : end - 4].lower(), query[end - 4 : end - 2]
    known = name == b"\\3www\\7example\\3org\\0"
    answer = b"\\xc0\\x0c\\0\\1\\0\\1" + struct.pack("!IH", 5, 4) + socket.inet_aton("{LEGACY_ADDRESS}")
    has = known and rdtype == b"\\0\\1"
    flags = b"\\x81\\x80" if known else b"\\x81\\x83"
    counts = struct.pack("!4H", 1, has, 0, 0)
    sock.sendto(query[:2] + flags + counts + query[12:end] + (answer if has else b""), client)
"""
_CABLE = """
ip netns add far
ip link add eth0 type veth peer name far netns far
ip -n far addr add 192.0.2.1/24 dev far
ip -n far link set far up
ip addr add 192.0.2.7/24 dev eth0
ip link set eth0 up
ip route add default via 192.0.2.1
systemd-run --quiet --unit server ip netns exec far python3 /root/server.py
"""


class Service(Struct, frozen=True):
    """How PACKAGES come to keep resolv.conf, told of the network's name server.

    hook         what `auto` finds
    crash_heals  names are right at once when the daemon has been killed
    """

    hook: Literal["resolved", "resolvconf"]
    packages: tuple[str, ...]
    start: str
    crash_heals: bool = False


SERVICES = {
    "resolved": Service(
        "resolved",
        ("systemd-resolved",),
        """
        useradd --system systemd-resolve
        # A /dev of its own is the one thing that a machine in namespaces cannot give it.
        mkdir /etc/systemd/system/systemd-resolved.service.d
        printf '[Service]\\nPrivateDevices=no\\n' >/etc/systemd/system/systemd-resolved.service.d/test.conf
        systemctl daemon-reload
        systemctl reload dbus
        ln -sf ../run/systemd/resolve/stub-resolv.conf /etc/resolv.conf
        systemctl start systemd-resolved
        resolvectl dns eth0 192.0.2.1
        resolvectl domain eth0 example.org
        """,
        crash_heals=True,
    ),
    "resolvconf": Service(
        "resolvconf",
        ("resolvconf",),
        """
        mkdir -p /run/resolvconf/interface
        ln -sf /run/resolvconf/resolv.conf /etc/resolv.conf
        resolvconf --enable-updates
        printf 'nameserver 192.0.2.1\\nsearch example.org\\n' | resolvconf -a eth0.dhclient
        """,
    ),
    "openresolv": Service(
        "resolvconf",
        ("openresolv",),
        "printf 'nameserver 192.0.2.1\\nsearch example.org\\n' | resolvconf -a eth0.dhclient",
    ),
}


def address(machine: Booted, name: str) -> str | None:
    """What an application gets for NAME, by glibc."""
    found = machine.run(f"getent ahostsv4 {name}", check=False).split()
    return found[0] if found else None


def status(machine: Booted) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(machine.run("vipnet status --json"))
    return found


@pytest.mark.parametrize("name", SERVICES)
def test_it_sends_us_names_while_we_run_and_only_then(name: str, package: Path, tmp_path: Path) -> None:
    service = SERVICES[name]
    for unpacked in service.packages:
        need((DEBS / unpacked).is_dir(), f"an unpacked {unpacked}")
    with booted(tmp_path, package) as machine:
        machine.put("/root/server.py", _SERVER)
        machine.run(_CABLE)
        for unpacked in service.packages:
            machine.unpack(DEBS / unpacked)
        machine.run(service.start)
        wait_until(lambda: address(machine, LEGACY) == LEGACY_ADDRESS, "names are found")
        before = machine.run("cat /etc/resolv.conf; readlink /etc/resolv.conf || true")
        assert "127.0.0.47" not in before
        machine.run(f"dpkg -i /root/vipnet.deb; vipnet init {A} --yes")

        def is_in_use() -> bool:
            return (address(machine, A), address(machine, LEGACY)) == (token, LEGACY_ADDRESS)

        for end in ("down", "crash"):
            machine.run("vipnet up")
            said = status(machine)
            token = said["tun"]["token"]
            assert said["dns"]["hook"] == service.hook
            # What this network has set as its domain would be asked there, but for names that are known.
            note = said["dns"]["note"]
            assert "example.org" in note if service.hook == "resolved" else note is None
            wait_until(is_in_use, "both kinds of names")
            assert address(machine, "a") == token, "by the search list"
            if service.hook == "resolved":
                assert token in machine.run(f"resolvectl query {A}")
            if end == "crash":
                machine.run("kill -9 $(cat /run/vipnet/vipnet.pid)")
                if service.crash_heals:
                    wait_until(lambda: address(machine, LEGACY) == LEGACY_ADDRESS, "names are found")
            machine.run("vipnet down")
            wait_until(lambda: address(machine, LEGACY) == LEGACY_ADDRESS, "names are found as before")
            assert address(machine, A) is None
            assert machine.run("cat /etc/resolv.conf; readlink /etc/resolv.conf || true") == before

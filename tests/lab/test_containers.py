"""A guest behind a host with vipnet, by bridge and masquerading, as docs/howto-containers.md has it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from tests.lab import talk
from tests.lab.conftest import LabFactory
from tests.lab.labs import Lab, run
from tests.support import need_program

# What Docker makes of `docker network create`, but for its rules on filtering.
_BRIDGE = """\
link add br-guests type bridge
address add 172.18.0.1/16 dev br-guests
link set dev br-guests up
link add guest type veth peer name eth0 netns {guest}
link set dev guest master br-guests up
"""
_GUEST = """\
link set dev lo up
address add 172.18.0.2/16 dev eth0
link set dev eth0 up
route add default via 172.18.0.1
"""
_MASQUERADE = """\
table ip guests {
    chain postrouting {
        type nat hook postrouting priority srcnat
        ip saddr 172.18.0.0/16 oifname != br-guests masquerade
    }
}
"""


@contextmanager
def guest_of(lab: Lab, host: str) -> Iterator[str]:
    """The namespace of a container on HOST."""
    space, guest = lab.host(host)["netns"], f"{lab.name}-guest"
    run(["ip", "netns", "add", guest])
    try:
        for where, commands in ((space, _BRIDGE.format(guest=guest)), (guest, _GUEST)):
            subprocess.run(["ip", "-netns", where, "-batch", "-"], input=commands, text=True, check=True)
        lab.on(host, "sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward")
        nft = ["ip", "netns", "exec", space, "nft", "-f", "-"]
        subprocess.run(nft, input=_MASQUERADE, text=True, check=True)
        yield guest
    finally:
        run(["ip", "netns", "delete", guest])


@contextmanager
def speaking(command: list[str]) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


@pytest.mark.stack
def test_a_container_keeps_its_connections_while_its_host_moves(new_lab: LabFactory) -> None:
    need_program("nft")
    lab = new_lab(dns="embedded")
    token = lab.on("a", "getent", "hosts", "b.vipip.net").stdout.split()[0]
    program = [sys.executable, talk.__file__]
    with guest_of(lab, "a") as guest, speaking(lab.command_on("b", *program, "serve")) as server:
        assert line(server) == "ready"
        with speaking(["ip", "netns", "exec", guest, *program, "talk", token]) as talking:
            assert line(talking) == f"to {token}"
            # The other end sees the host.
            assert line(server) == f"from {lab.host('a')['token']}"
            for mover in ("", "a", "b", "both"):
                if mover:
                    lab.move(mover)
                assert talking.stdin is not None
                talking.stdin.write(f"after a move of {mover or 'nobody'}\n")
                assert line(talking) == "heard"
        checks = {check["id"]: check["state"] for check in lab.ask("a", "doctor")["checks"]}
        assert checks["firewall-forward"] == "ok", checks

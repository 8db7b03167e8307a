"""A real DHCP client whose lease is renewed to another address (RFC 2131 section 4.4.5)."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Final

import pytest
from tests.lab.apps.program import Program, program
from tests.lab.apps.shells import ssh
from tests.lab.apps.survival import check_they_go_on, goals_of, same_sockets
from tests.lab.conftest import LabFactory
from tests.lab.labs import Lab, wait_until
from tests.lab.streams import check_nothing_lost, streams
from tests.support import need_program

_FIRST, _SECOND = "10.201.1.61", "10.201.1.71"
_SCRIPT: Final = """\
#!/bin/sh
# The client's hook: what it is told becomes the interface's address and route.
case $1 in
deconfig)
    ip address flush dev "$interface" scope global
    ip link set dev "$interface" up
    ;;
bound | renew)
    ip address replace "$ip/$mask" dev "$interface"
    ip route replace default via "$router" dev "$interface" metric 100
    ;;
esac
"""


@contextmanager
def dhcp_server(lab: Lab, directory: Path, address: str) -> Iterator[None]:
    """Dnsmasq on LAN 1 has this one address to give; it refuses whoever asks to keep another."""
    leases = directory / f"{address}.leases"
    options = ["--port=0", "--interface=lan1", "--bind-interfaces", "--no-ping", "--dhcp-authoritative"]
    options += [f"--dhcp-range={address},{address},255.255.255.0,2m", "--dhcp-option=3,10.201.1.1"]
    options += ["--conf-file=/dev/null", "--pid-file=", "--user=root", f"--dhcp-leasefile={leases}"]
    command = ["dnsmasq", "--keep-in-foreground", "--log-facility=-", *options]
    with program(lab, "r", command, directory, name=f"dnsmasq-{address}") as server:
        wait_until(lambda: "DHCP, IP range" in server.said(), "dnsmasq")
        yield


def is_at(lab: Lab, address: str) -> bool:
    return [one.rpartition(":")[0] for one in lab.ask("a", "status")["locators"]] == [address]


@pytest.mark.stack
def test_a_lease_is_renewed_to_another_address(
    new_lab: LabFactory, tmp_path: Path, figure: Callable[[str], None]
) -> None:
    need_program("dnsmasq", "udhcpc")
    script = tmp_path / "hook"
    script.write_text(_SCRIPT)
    script.chmod(0o755)
    lab = new_lab()
    command: list[str | Path] = ["udhcpc", "-f", "-i", "eth0", "-s", script, "-t", "10", "-T", "1", "-A", "1"]
    both_ways = {"a": ["b"], "b": ["a"]}
    with ssh(lab, tmp_path) as session, streams(lab, tmp_path, both_ways) as running:
        with same_sockets((session,)), ExitStack() as stack:
            client: Program | None = None
            for address in (_FIRST, _SECOND):
                with dhcp_server(lab, tmp_path, address):
                    if client is None:
                        started = program(lab, "a", command, tmp_path, name="udhcpc")
                        client = stack.enter_context(started)
                    else:
                        os.kill(client.pid, signal.SIGUSR1)  # renew now
                    wait_until(partial(is_at, lab, address), f"the lease of {address}")
                    goals = goals_of((session,))
                    running.go_on(f"at {address}")
                    check_they_go_on(goals, f"at {address}")
        figure(check_nothing_lost(running.finish()))
        session.finish()

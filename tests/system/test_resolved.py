"""The real systemd-resolved, unpacked and not installed, on a system bus of its own in a namespace."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import trio
from tests.support import need, need_program, need_root

from vipnet.errors import HostError
from vipnet.system import resolved

# ./run test-stack unpacks it there: installing it would change the machine's own look-ups.
DEBS = Path(sys.prefix) / "debs"

BUS = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-BUS Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>system</type>
  <listen>unix:path=/run/bus</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow send_destination="*" eavesdrop="true"/>
    <allow eavesdrop="true"/>
    <allow own="*"/>
    <allow user="*"/>
  </policy>
</busconfig>
"""

# tun0 and eth0 are veth pairs: resolved asks nobody on a link without a carrier.
SCRIPT = r"""
set -e
cd "$1"
ip link set lo up
for link in tun0 eth0; do
    ip link add $link type veth peer name peer-$link
    ip link set peer-$link up
    ip link set $link up
done
ip addr add 240.1.2.3/32 dev tun0
ip addr add 192.0.2.9/24 dev eth0
mount -t tmpfs none /run
mkdir -p /run/systemd/resolve
for file in passwd group; do
    grep -v '^systemd-resolve:' /etc/$file >$file || true
done
echo 'systemd-resolve:x:996:996::/:/usr/sbin/nologin' >>passwd
echo 'systemd-resolve:x:996:' >>group
mount --bind passwd /etc/passwd
mount --bind group /etc/group
echo 'nameserver 192.0.2.53' >resolv.conf
mount --bind resolv.conf /etc/resolv.conf
chown 996:996 /run/systemd/resolve
export DBUS_SYSTEM_BUS_ADDRESS=unix:path=/run/bus
dbus-daemon --config-file=bus.conf --nofork 2>bus.log & bus=$!
LD_LIBRARY_PATH=$2/libsystemd-shared/usr/lib/$(uname -m)-linux-gnu/systemd SYSTEMD_LOG_TARGET=console \
    "$2"/systemd-resolved/lib/systemd/systemd-resolved 2>resolved.log & resolved=$!
trap 'kill $resolved $bus 2>/dev/null; wait' EXIT
"$3" -m tests.system.resolved_client "$4"
"""


@pytest.mark.stack
@pytest.mark.parametrize(
    ("domains", "asked"),
    [
        (".", ["b.vipip.test", "www.example.org"]),
        ("vipip.test,240.in-addr.arpa", ["b.vipip.test"]),
    ],
    ids=["all names", "split by suffix"],
)
def test_resolved_asks_us(tmp_path: Path, domains: str, asked: list[str]) -> None:
    need_root()
    need_program("dbus-daemon", "unshare", "ip")
    need((DEBS / "systemd-resolved").is_dir(), "an unpacked systemd-resolved")
    (tmp_path / "bus.conf").write_text(BUS)
    command = [
        "unshare",
        "--mount",
        "--net",
        "sh",
        "-c",
        SCRIPT,
        "sh",
        tmp_path,
        DEBS,
        sys.executable,
        domains,
    ]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(
        list(map(str, command)), env=environment, capture_output=True, text=True, timeout=90, check=False
    )
    logs = "".join(log.read_text() for log in tmp_path.glob("*.log"))
    assert done.returncode == 0, done.stdout + done.stderr + logs
    assert done.stdout.split() == asked


def test_without_a_bus_it_is_not_running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", f"unix:path={tmp_path}/none")
    assert trio.run(resolved.is_running) is False
    with pytest.raises(HostError, match=r'systemd-resolved: the system bus: .*set \[dns\] hook = "file"'):
        trio.run(resolved.route, "lo", "127.0.0.47", ["."])
    with pytest.raises(HostError, match="there is no interface nowhere0"):
        trio.run(resolved.route, "nowhere0", "127.0.0.47", ["."])

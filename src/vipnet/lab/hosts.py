"""A host of the lab as a machine with vipnet on it: files, daemon, state."""

from __future__ import annotations

import base64
import os
import socket
import struct
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final

from msgspec import Struct

from vipnet.app.control import SOCKET_NAME, ask_daemon
from vipnet.errors import ConfigError, HostError, NotReadyError, VipnetError
from vipnet.lab import topology
from vipnet.lab.layout import DNS_ADDRESS, LANS, ROUTER, ZONE, LabHost, Layout, router_address
from vipnet.lab.nameserver import write_secret
from vipnet.lab.namespaces import enter_command

_KEY_SIZE: Final = 32  # bytes; any 32 are an X25519 private key (RFC 7748 section 5)
_ERRORS: Final = {2: ConfigError, 3: NotReadyError}  # by exit status of `vipnet`
_UP_S: Final = 60.0  # `vipnet up` gives up by itself long before
_DOWN_S: Final = 5.0  # then whoever takes the lab down kills
_STATUS_S: Final = 2.0  # a daemon that hangs must not hang `lab status`

_CONFIG: Final = """\
name = "{name}"
key_file = "{key}"
state_dir = "{state}"
run_dir = "{run}"

[tun]
subnet = "{subnet}"

[mobility]
profile = "{profile}"
hints = {hints}

[dns]
hook = "file"

[publish]
provider = "rfc2136"
{server}zone = "{zone}"
key_name = "{key_name}"
key_secret_file = "{tsig}"

[accept]
from = ["*.{zone}"]
"""
_ETC: Final = {
    "hosts": "127.0.0.1 localhost\n::1 localhost\n",
    "nsswitch.conf": "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\nservices: files\n"
    "protocols: files\n",
}


class HostStatus(Struct, frozen=True):
    """A host in `lab status`; what does not run or does not exist is None."""

    netns: str
    pid: int | None
    config: str | None
    state_dir: str | None
    address: str | None
    token: str | None
    lans: tuple[int, ...]


# --- files


def write_files(layout: Layout) -> None:
    """Make every host's directory, and r's; TSIG keys are the name server's to make."""
    layout.dns_directory.mkdir()
    for label in (ROUTER, *(host.label for host in layout.hosts)):
        layout.etc(label).mkdir(parents=True)
        for name, text in {**_ETC, "resolv.conf": _resolv_conf(layout)}.items():
            (layout.etc(label) / name).write_text(text, encoding="ascii")
    for host in layout.hosts:
        if host.vipnet:
            secret = base64.b64encode(os.urandom(_KEY_SIZE)).decode()
            write_secret(layout.key_file(host.label), secret)
            layout.config_file(host.label).write_text(_config(layout, host), encoding="ascii")


def _resolv_conf(layout: Layout) -> str:
    """R answers at all its addresses; the second is for a host without IPv4."""
    servers = [DNS_ADDRESS, *(router_address(LANS[0], family) for family in layout.families if family == 6)]
    return "".join(f"nameserver {server}\n" for server in servers) + "options timeout:2\n"


def _config(layout: Layout, host: LabHost) -> str:
    label = host.label
    return _CONFIG.format(
        name=host.name,
        key=layout.key_file(label),
        state=layout.state_dir(label),
        run=layout.run_dir(label),
        subnet=layout.spec.subnet,
        profile=layout.spec.profile,
        hints="true" if layout.spec.hints else "false",
        # A host that may lose its IPv4 finds the server by the zone's SOA, at any of its addresses.
        server="" if layout.spec.ipv6 else f'server = "{DNS_ADDRESS}"\n',
        zone=ZONE,
        key_name=host.key_name,
        tsig=layout.tsig_file(label),
    )


# --- daemons


def start_daemons(layout: Layout) -> None:
    """`vipnet up` on all hosts at once; return when all are ready. Raise what the first says that fails."""
    _vipnet_everywhere(layout, "up", [host.label for host in layout.hosts if host.vipnet], _UP_S)


def stop_daemons(layout: Layout, within_s: float = _DOWN_S) -> None:
    """`vipnet down` where a daemon may run. Raise VipnetError when one does not obey."""
    labels = [host.label for host in layout.hosts if (layout.run_dir(host.label) / SOCKET_NAME).exists()]
    _vipnet_everywhere(layout, "down", labels, within_s)


def _vipnet_everywhere(layout: Layout, command: str, labels: Iterable[str], within_s: float) -> None:
    started = {
        label: subprocess.Popen(
            _vipnet(layout, label, command), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        for label in labels
    }
    try:
        answers = {label: process.communicate(timeout=within_s)[1] for label, process in started.items()}
    except subprocess.TimeoutExpired:
        raise VipnetError(
            f"`vipnet {command}` takes longer than {within_s:g} s: is the machine very busy? try again"
        ) from None
    finally:
        for process in started.values():
            process.kill()  # only after an interrupt, or when it hangs: all others have ended
            process.communicate()
    for label, stderr in answers.items():
        status = started[label].returncode
        if status != 0:
            reason = (stderr.strip().splitlines() or [f"exit status {status}"])[-1]
            kind = _ERRORS.get(status, VipnetError)
            raise kind(f"{label}: `vipnet {command}`: {reason.removeprefix('vipnet: ')}")


def _vipnet(layout: Layout, label: str, command: str) -> list[str]:
    arguments = ["-P", "-m", "vipnet", command, "--config", str(layout.config_file(label))]
    return enter_command(layout.netns(label), layout.etc(label), [sys.executable, *arguments])


def daemon_pid(run_dir: Path) -> int | None:
    """Who listens on the control socket, as the kernel says (unix(7), SO_PEERCRED)."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(_STATUS_S)
        try:
            connection.connect(str(run_dir / SOCKET_NAME))
        except OSError:
            return None
        raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    pid: int = struct.unpack("3i", raw)[0]
    return pid


# --- look


def host_status(layout: Layout, host: LabHost) -> HostStatus:
    up = [nic for nic in topology.nics(layout, host) if nic.up and nic.addresses]
    address = up[0].addresses[0] if up else None
    lans = tuple(nic.lan for nic in up)
    netns = layout.netns(host.label)
    if not host.vipnet:
        return HostStatus(netns, None, None, None, address, None, lans)
    run_dir = layout.run_dir(host.label)
    return HostStatus(
        netns,
        daemon_pid(run_dir),
        str(layout.config_file(host.label)),
        str(layout.state_dir(host.label)),
        address,
        _token(run_dir),
        lans,
    )


def _token(run_dir: Path) -> str | None:
    try:
        status: dict[str, Any] = ask_daemon(run_dir, "status", timeout_s=_STATUS_S)
    except VipnetError:
        return None
    token: str | None = status["tun"]["token"]
    return token


def environment(layout: Layout, label: str) -> dict[str, str]:
    """What a command on the host finds: this vipnet first in PATH, and the host's configuration."""
    here = str(Path(sys.executable).parent)
    path = os.environ.get("PATH", os.defpath).split(os.pathsep)
    added = [one for one in ("/usr/sbin", "/sbin") if one not in path]
    found = {**os.environ, "PATH": os.pathsep.join([here, *path, *added])}
    found.pop("VIPNET_CONFIG", None)
    if layout.config_file(label).exists():
        found["VIPNET_CONFIG"] = str(layout.config_file(label))
    return found


def exec_target(layout: Layout, label: str) -> tuple[str, Path]:
    """Namespace and files of a host, or of r. Raise ConfigError, HostError."""
    if label != ROUTER:
        label = layout.host(label).label
    files = layout.etc(label)
    if not files.is_dir():
        raise HostError(f"lab {layout.name} is broken: {files} is missing; `vipnet lab down`, then `up`")
    return layout.netns(label), files


def command_on(layout: Layout, label: str, command: Sequence[str]) -> list[str]:
    """The argument list that runs COMMAND on a host, for subprocess."""
    netns, files = exec_target(layout, label)
    return enter_command(netns, files, list(command))

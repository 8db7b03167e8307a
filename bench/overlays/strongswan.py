"""strongSwan: IKEv2 with MOBIKE (RFC 4555), and ESP in user space (kernel-libipsec), in UDP.

`a` is the initiator, which MOBIKE lets decide about addresses. Plugins are loaded as Debian
configures them, but for the one that makes ESP a matter of user space.
"""

from __future__ import annotations

import subprocess
from typing import Final

from bench.overlays import Overlay
from bench.testbed import Host

_CHARON: Final = "/usr/sbin/charon-systemd"
_LIBIPSEC: Final = "/usr/lib/ipsec/plugins/libstrongswan-kernel-libipsec.so"

_STRONGSWAN_CONF: Final = """\
charon-systemd {{
    load_modular = yes
    filelog {{
        log {{
            path = {directory}/charon.log
            flush_line = yes
        }}
    }}
{timers}
    plugins {{
        include /etc/strongswan.d/charon/*.conf
        kernel-libipsec {{
            load = yes
        }}
        vici {{
            socket = unix://{directory}/charon.vici
        }}
    }}
}}
"""
_SWANCTL_CONF: Final = """\
connections {{
    bench {{
        version = 2
        remote_addrs = {endpoint}
        {dpd}
        local {{
            auth = psk
            id = {label}
        }}
        remote {{
            auth = psk
            id = {other}
        }}
        children {{
            bench {{
                local_ts = {inside}/32
                remote_ts = {other_inside}/32
                start_action = {start}
                {on_death}
            }}
        }}
    }}
}}
secrets {{
    ike-bench {{
        secret = bench
    }}
}}
"""
# Retransmission waits 4 s, 1.8 times as long each time, and gives up after 5; dead peers are not looked for.
_TIMERS: Final = """\
    retransmit_timeout = 1
    retransmit_base = 1.0
    retransmit_tries = 1
    retry_initiate_interval = 1
    keep_alive = 1
"""


class StrongSwan(Overlay):
    """A pre-shared key, and one child for the two addresses inside.

    SHORTEST: a silent peer is asked every second (`dpd_delay`), retransmission gives up after
    2 s, and whoever began then begins again, with the peer's name looked up anew. That a path to
    the old address is tried ten times, 2.5 s apart, is fixed.
    """

    name = "strongswan, MOBIKE"
    programs = (_CHARON, _LIBIPSEC, "swanctl")

    def start(self) -> None:
        for host in self.bed.hosts:
            directory = host.directory
            text = _STRONGSWAN_CONF.format(directory=directory, timers=_TIMERS if self.shortest else "")
            (directory / "strongswan.conf").write_text(text, encoding="ascii")
            (directory / "swanctl.conf").write_text(self._swanctl(host), encoding="ascii")
            host.run("ip", "address", "add", f"{self.address(host)}/32", "dev", "lo")
            words = ("env", f"STRONGSWAN_CONF={directory}/strongswan.conf", _CHARON)
            self.pids.append(self.bed.start(host, *words, log="charon.out").pid)
        for host in reversed(self.bed.hosts):  # who answers first
            self.bed.until((host.directory / "charon.vici").exists, "charon's control socket")
            uri, file = f"unix://{host.directory}/charon.vici", str(host.directory / "swanctl.conf")
            host.run("swanctl", "--load-all", "--noprompt", "--file", file, "--uri", uri)
        self.wait()

    def _swanctl(self, host: Host) -> str:
        other = self.bed.other(host)
        begins = host is self.bed.a
        return _SWANCTL_CONF.format(
            label=host.label,
            other=other.label,
            endpoint=other.endpoint,
            inside=self.address(host),
            other_inside=self.address(other),
            start="start" if begins else "none",
            dpd="dpd_delay = 1s\n        keyingtries = 0" if self.shortest else "",
            on_death=f"dpd_action = {'restart' if begins else 'clear'}" if self.shortest else "",
        )

    def stop(self) -> None:
        for host in self.bed.hosts:
            host.run("ip", "address", "delete", f"{self.address(host)}/32", "dev", "lo")

    def address(self, host: Host) -> str:
        return f"10.95.0.{host.number}"

    def version(self) -> str:
        show = ["dpkg-query", "--show", "--showformat=${Version}", "charon-systemd"]
        return subprocess.run(show, capture_output=True, text=True, check=True).stdout

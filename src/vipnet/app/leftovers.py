"""What a daemon that was killed leaves on the host, and how it is put back.

The unreachable route stays on purpose when the daemon dies: without it packets to
tokens would leave in clear by the default gateway. Only `down`, or a start that is
refused, takes it away.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from vipnet.app.config import Config
from vipnet.system.resolvconf import Resolvconf
from vipnet.system.routes import remove_unreachable
from vipnet.system.takeover import ResolvConf

RESOLV_CONF: Final = Path("/etc/resolv.conf")
BACKUP_NAME: Final = "resolv.conf.before"  # in state_dir: /etc/resolv.conf survives a reboot, /run does not


def resolv_conf(config: Config) -> ResolvConf:
    return ResolvConf(RESOLV_CONF, config.state_dir / BACKUP_NAME, config.dns.listen.host)


def clean(config: Config) -> None:
    """Put /etc/resolv.conf back and remove the unreachable route; nothing happens when all is well.

    Raise HostError when the machine refuses.
    """
    resolv_conf(config).restore()
    Resolvconf(config.dns.listen.host).restore()
    remove_unreachable(config.tun.subnet)

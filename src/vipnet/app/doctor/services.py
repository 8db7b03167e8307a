"""What `vipnet up` says once: whom of this host's programs partners can reach from now on."""

from __future__ import annotations

from vipnet.app.config import Config
from vipnet.app.doctor.checks_network import reachable
from vipnet.system.survey import ports


def services(config: Config) -> str:
    """The programs that wait on all addresses, in one line; empty when there are none."""
    return reachable(ports.listeners(), config.transport.port)

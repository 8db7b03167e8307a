"""A NAT that gives a host's datagrams another source port, and a new one whenever it likes.

It sits between the host's daemon and its NICs, so that it works on one LAN too and no
event tells of it. It keeps no state: the port is rewritten on the way out and back on
the way in, and what is sent to an earlier port is dropped.
"""

from __future__ import annotations

import secrets
import shutil
import subprocess
from typing import Final

from vipnet.errors import HostError
from vipnet.lab.namespaces import inside
from vipnet.policy import DEFAULT_PORT

_PORTS: Final = range(20_000, 60_000)
_SCRIPT: Final = """\
table ip vipnet_nat
delete table ip vipnet_nat
table ip vipnet_nat {{
    chain out {{
        type filter hook postrouting priority 0
        oifname "eth*" udp sport {inside} udp sport set {outside}
    }}
    chain in {{
        type filter hook prerouting priority -300
        iifname "eth*" udp dport {inside} drop
        iifname "eth*" udp dport {outside} udp dport set {inside}
    }}
}}
"""


def rebinding() -> str:
    """Commands for nft that give the host a source port it did not have before, most likely."""
    return _SCRIPT.format(inside=DEFAULT_PORT, outside=_PORTS[secrets.randbelow(len(_PORTS))])


def run_nft(netns: str, script: str) -> None:
    """Carry SCRIPT out in NETNS. Raise HostError."""
    if shutil.which("nft") is None:
        raise HostError("the lab's NAT needs nft: apt-get install nftables")
    with inside(netns):
        done = subprocess.run(["nft", "-f", "-"], input=script, capture_output=True, text=True, check=False)
    if done.returncode:
        raise HostError(f"nft: {done.stderr.strip().splitlines()[0]}; does this kernel have nftables?")

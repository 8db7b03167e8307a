"""Every overlay that can be measured."""

from __future__ import annotations

from typing import Final

from bench.overlays import Overlay
from bench.overlays.bare import Bare
from bench.overlays.nebula import Nebula
from bench.overlays.openvpn import OpenVpn
from bench.overlays.tinc import Tinc
from bench.overlays.vipnet import Vipnet
from bench.overlays.wireguard import WireguardGo

OVERLAYS: Final[tuple[type[Overlay], ...]] = (Bare, Vipnet, WireguardGo, Nebula, Tinc, OpenVpn)

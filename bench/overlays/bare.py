"""No overlay: the wire itself, which is what all of them are measured on."""

from __future__ import annotations

import platform

from bench.overlays import Overlay
from bench.testbed import Host


class Bare(Overlay):
    name = "bare"

    def start(self) -> None:
        self.wait()

    def address(self, host: Host) -> str:
        return host.address

    def version(self) -> str:
        return f"Linux {platform.release()}"

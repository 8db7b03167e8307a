"""A router that hides one host behind an address of its own."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING

from vipnet.types import Locator

if TYPE_CHECKING:
    from tests.sim.host import SimHost

_FIRST_PORT = 20_000


class Nat:
    """Mapping and filtering independent of the endpoint (RFC 4787 sections 4.1 and 5).

    A port is given with the first datagram out; until then, and after `forget`, nothing gets in.
    """

    def __init__(self, host: SimHost, address: str) -> None:
        self._host, self._address = host, address
        self._ports = count(_FIRST_PORT)
        self.outside: Locator | None = None

    def pass_out(self) -> Locator:
        """Where a datagram of the host seems to come from."""
        if self.outside is None:
            self.outside = Locator(self._address, next(self._ports))
            self._host.net.place(self._host, self.outside)
        return self.outside

    def forget(self) -> None:
        """As after a pause or a reboot of the router; the host is not told."""
        if self.outside is not None:
            self._host.net.displace(self._host, self.outside)
        self.outside = None

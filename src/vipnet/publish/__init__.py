"""One dynamic-DNS provider a file behind one protocol.

    rfc2136                               signed UPDATE messages to a primary
    dyndns2                               no-ip, Dynu, dy.fi ...: one HTTP request, no TXT
    duckdns, cloudflare, desec, hetzner   their own HTTP APIs
    hook                                  a program of the user's

`web` is what the HTTP providers need of HTTP, `httpclient` the only module that imports
httpx: a daemon without such a provider does not pay for it.
"""

from __future__ import annotations

from typing import Protocol

from vipnet.names.desired import Desired


class Publisher(Protocol):
    """Makes DNS say what this host wants it to say.

    Calls never overlap. A call may be cancelled at any await: whether the provider took
    the update is unknown then, and the next call has to cope with both.
    """

    @property
    def provider(self) -> str:
        """Its name in the configuration."""
        ...

    @property
    def interval_s(self) -> float:
        """Least time from one update to the next that the provider puts up with, seconds."""
        ...

    @property
    def refresh_s(self) -> float:
        """After so long without an update the provider forgets the name, seconds; infinite: never."""
        ...

    @property
    def writes_record(self) -> bool:
        """Whether it can write the capability record; if not, peers list this host by hand."""
        ...

    @property
    def echoes(self) -> bool:
        """Whether DNS gets the address that the provider sees the update come from, whatever is desired."""
        ...

    async def publish(self, desired: Desired) -> tuple[str, ...]:
        """Return the addresses in DNS when the provider has confirmed DESIRED. Raise PublishError.

        They are those of DESIRED; of one that `echoes`, those it names, which may be none.
        """
        ...

    async def withdraw(self, desired: Desired) -> None:
        """Remove the capability record: a host without vipnet is left. Raise PublishError."""
        ...

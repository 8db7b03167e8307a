"""One dynamic-DNS provider a file behind one protocol."""

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

    async def publish(self, desired: Desired) -> None:
        """Return when the provider has confirmed DESIRED. Raise PublishError."""
        ...

    async def withdraw(self, desired: Desired) -> None:
        """Remove the name's addresses and capability record. Raise PublishError."""
        ...

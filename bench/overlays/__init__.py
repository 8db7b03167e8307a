"""Overlay networks as they come, one a file, between the two hosts of a testbed.

Hosts of the wire (bench/testbed.py) never move, and know each other by address: no name server and
no third host stands in the way of what is measured. Hosts that move (bench/movingbed.py) know each
other by name, as overlays that look names up again need it.
"""

from __future__ import annotations

import shutil
from abc import ABC, abstractmethod
from functools import partial
from pathlib import Path
from typing import ClassVar

from bench.testbed import Host, Testbed


class Overlay(ABC):
    """An overlay between `a` and `b`; started once, then measured, then stopped with the testbed.

    programs    what has to be installed, by name or path; without it an overlay is left out by name
    shortest    every timer that decides when a move is noticed as short as the settings allow
    pids        its daemons: one a host
    """

    name: ClassVar[str]
    programs: ClassVar[tuple[str, ...]] = ()

    def __init__(self, bed: Testbed, *, shortest: bool = False) -> None:
        self.bed = bed
        self.shortest = shortest
        self.pids: list[int] = []

    @classmethod
    def missing(cls) -> list[str]:
        return [one for one in cls.programs if shutil.which(one) is None and not Path(one).exists()]

    @abstractmethod
    def start(self) -> None:
        """Return when a ping gets through. Raise TestbedError."""

    def stop(self) -> None:  # noqa: B027 - most have nothing to add
        """Undo what does not end with the programs that the testbed stops."""

    @abstractmethod
    def address(self, host: Host) -> str:
        """HOST inside the overlay, as the other host's programs know it: an address or a name."""

    @abstractmethod
    def version(self) -> str:
        """As the program says it."""

    def wait(self) -> None:
        """Until both directions work."""
        for host in self.bed.hosts:
            target = self.address(self.bed.other(host))
            self.bed.until(partial(self.bed.reaches, host, target), f"{self.name}: a ping")

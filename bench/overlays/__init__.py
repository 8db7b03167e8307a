"""Overlay networks as they come, one a file, between the two hosts of the testbed."""

from __future__ import annotations

import shutil
from abc import ABC, abstractmethod
from functools import partial
from typing import ClassVar

from bench.testbed import Host, Testbed


class Overlay(ABC):
    """An overlay between `a` and `b`; started once, then measured, then stopped with the testbed.

    programs  what has to be installed; an overlay without them is left out by name
    pids      its daemons: one a host
    """

    name: ClassVar[str]
    programs: ClassVar[tuple[str, ...]] = ()

    def __init__(self, bed: Testbed) -> None:
        self.bed = bed
        self.pids: list[int] = []

    @classmethod
    def missing(cls) -> list[str]:
        return [program for program in cls.programs if shutil.which(program) is None]

    @abstractmethod
    def start(self) -> None:
        """Return when a ping gets through. Raise TestbedError."""

    @abstractmethod
    def address(self, host: Host) -> str:
        """HOST inside the overlay, as the other host's programs know it."""

    @abstractmethod
    def version(self) -> str:
        """As the program says it."""

    def wait(self) -> None:
        """Until both directions work."""
        for host in self.bed.hosts:
            target = self.address(self.bed.other(host))
            self.bed.until(partial(self.bed.reaches, host, target), f"{self.name}: a ping")

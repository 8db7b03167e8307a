"""`vipnet` with a sleep before each look-up of the daemon: how the paper made DNS slow.

    python -m bench.paper.sleepy FILE run --config CONFIG

FILE holds the milliseconds, and is read again each time. Only for comparison: what the
figures show comes from a forwarder before the name server, which delays updates as well.
"""

from __future__ import annotations

import sys
from pathlib import Path

import trio

from vipnet.cli.main import main as vipnet
from vipnet.core.outputs import LookupResult
from vipnet.system.lookup import Lookup
from vipnet.types import Fqdn


def make_sleepy(file: Path) -> None:
    awake = Lookup.lookup

    async def lookup(self: Lookup, name: Fqdn, *, authoritative: bool, verify: bool = False) -> LookupResult:
        delay_ms = float(await trio.Path(file).read_text(encoding="ascii"))
        await trio.sleep(delay_ms / 1000)
        return await awake(self, name, authoritative=authoritative, verify=verify)

    Lookup.lookup = lookup  # type: ignore[method-assign]


if __name__ == "__main__":
    make_sleepy(Path(sys.argv.pop(1)))
    vipnet()

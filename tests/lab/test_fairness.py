"""Who takes all that there is does not take it from others: the other peer, small packets, look-ups."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from tests.lab.apps.program import program, wait_until_bound
from tests.lab.conftest import LabFactory

_BULK: Final = str(Path(__file__).parent / "apps/bulk.py")
_PORT: Final = 5555
_SECONDS: Final = 3
_PINGS: Final = 100
_SHARE: Final = 0.15  # of what two of them carry, at least; half of it would be even


def test_a_bulk_transfer_stops_nobody_else(
    new_lab: LabFactory, tmp_path: Path, figure: Callable[[str], None]
) -> None:
    """A sends all that it can to b and to d, and asks and is asked meanwhile."""
    lab = new_lab("--hosts", "3", dns="embedded")
    with ExitStack() as stack:
        takers = {}
        for host in ("b", "d"):
            take = program(
                lab, host, [sys.executable, _BULK, "take", str(_PORT)], tmp_path, name=f"take-{host}"
            )
            takers[host] = stack.enter_context(take)
            wait_until_bound(takers[host], "tcp", _PORT)
        givers = []
        for host in ("b", "d"):
            words = [sys.executable, _BULK, "give", f"{host}.vipip.net", str(_PORT), str(_SECONDS)]
            givers.append(stack.enter_context(program(lab, "a", words, tmp_path, name=f"give-{host}")))
        ping = lab.on("a", "ping", "-q", "-c", str(_PINGS), "-i", "0.01", "-W", "5", "b.vipip.net").stdout
        for _ in range(10):
            lab.on("a", "getent", "ahostsv4", "d.vipip.net")
        assert all(giver.wait() == 0 for giver in givers)
        assert all(taker.wait() == 0 for taker in takers.values())
        carried = {host: int(taker.said()) for host, taker in takers.items()}
    assert " 0% packet loss" in ping
    assert min(carried.values()) >= _SHARE * sum(carried.values()), carried
    round_trips = ping.splitlines()[-1].split(" = ")[1]
    each = ", ".join(f"{host} {size / 1e6:.0f} MB" for host, size in carried.items())
    figure(f"{each} in {_SECONDS} s; ping meanwhile min/avg/max/mdev {round_trips}")

"""What a move costs a host with many partners: real nodes, real keys, in the simulator.

    .venv/bin/python bench/telling.py [--partners 10 100 1000 10000]

Only the one host's own work is timed. Writes bench/results/telling.json.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import platform
import resource
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))  # the simulator is in `tests`

from tests.sim.network import Network, SimHost
from tests.sim.properties import body, watched_seals

from vipnet.core.outputs import Output, Transmit

RESULTS = Path(__file__).parent / "results/telling.json"
HEADERS = 28  # bytes of IPv4 and UDP around a datagram


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--partners", type=int, nargs="+", default=[10, 30, 100, 300, 1000, 3000, 10_000])
    options = parser.parse_args()
    results = {
        "machine": f"{os.cpu_count()} cores, {platform.system()}, Python {platform.python_version()}",
        "one_sided": [measure(number) for number in options.partners],
        "half_silent": half_silent(1000),
        "two_sided": [two_sided(delay) for delay in (0.005, 0.02, 0.1, 0.5)],
    }
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(results, indent=2) + "\n")
    json.dump(results, sys.stdout, indent=2)
    print()


class Meter:
    """CPU seconds of one host's node, and its datagrams and bytes with headers."""

    def __init__(self, host: SimHost) -> None:
        self.cpu_s, self.datagrams, self.size_bytes = 0.0, 0, 0
        net = host.net
        send = net.send

        def counted(sender: SimHost, transmit: Transmit) -> None:
            if sender is host:
                self.datagrams += 1
                self.size_bytes += len(transmit.payload) + HEADERS
            send(sender, transmit)

        net.send = counted  # type: ignore[method-assign]
        for name in ("handle_locators", "handle_datagram", "handle_timeout", "handle_lookup"):
            setattr(host.node, name, self._timed(getattr(host.node, name)))

    def _timed(self, act: Callable[..., list[Output]]) -> Callable[..., list[Output]]:
        def timed(*arguments: object) -> list[Output]:
            begun = time.process_time()
            try:
                return act(*arguments)
            finally:
                self.cpu_s += time.process_time() - begun

        return timed


def meet(net: Network, partners: int) -> tuple[SimHost, list[SimHost]]:
    """A host that has sessions and traffic with so many others."""
    hub = net.host("hub.example")
    others = [net.host(f"p{number}.example") for number in range(partners)]
    net.run_for(0.1)
    for number, other in enumerate(others):
        net.at(number * 0.001, partial(hub.resolve, other))
    net.run_for(partners * 0.001 + 2)
    for other in others:
        hub.send(other, body(hub, other, 1))
    net.run_for(1)
    return hub, others


def measure(partners: int) -> dict[str, Any]:
    """One move of the host alone."""
    before_kb, begun = _resident_kb(), time.process_time()
    net = Network(1, latency_s=0.02, trace_kept=100)
    with watched_seals() as seals:
        hub, others = meet(net, partners)
        meeting_s = time.process_time() - begun
        gc.collect()
        kb = (_resident_kb() - before_kb) / partners
        meter = Meter(hub)
        earlier = seals.messages.copy()
        gc.disable()
        hub.move_to(net.new_address())
        gc.enable()
        hint_cpu_s, hints, hint_bytes = meter.cpu_s, meter.datagrams, meter.size_bytes
        net.run_for(0.2)
        said = seals.messages - earlier
    (*_, report) = hub.moves.values()
    assert sum(line.outcome == "acked" for line in report.partners) == partners
    assert all(other.node.peers[hub.name].mapping.current == hub.locator for other in others)
    return {
        "partners": partners,
        "hints": hints,
        "hint_bytes": hint_bytes,
        "hint_cpu_s": round(hint_cpu_s, 5),
        "all_cpu_s": round(meter.cpu_s, 5),
        "all_datagrams": meter.datagrams,
        "all_bytes": meter.size_bytes,
        "messages": dict(said),
        "lookups": len([wanted for wanted in hub.lookups if wanted.reason == "hint unacknowledged"]),
        "kb_of_both_ends": round(kb, 1),
        "meeting_cpu_s": round(meeting_s, 1),
    }


def half_silent(partners: int) -> dict[str, int]:
    """Half of the partners have had no traffic for longer than the lease."""
    net = Network(1, latency_s=0.02, trace_kept=100)
    hub, others = meet(net, partners)
    net.run_for(59)
    for other in others[: partners // 2]:
        hub.send(other, body(hub, other, 2))
    net.run_for(3)
    meter = Meter(hub)
    hub.move_to(net.new_address())
    return {"partners": partners, "active": partners // 2, "hints": meter.datagrams}


def two_sided(update_s: float) -> dict[str, float]:
    """Both ends of one pair move at once; DNS knows UPDATE_S later; a question takes 10 ms."""
    net = Network(1, latency_s=0.02)
    a, b = meet(net, 1)[0], net.hosts["p0.example"]
    net.run_for(1)
    a.lookups.clear()
    b.lookups.clear()
    for host in (a, b):
        address = net.new_address()
        host.move_to(address, publish=False)
        net.at(update_s, partial(net.zone.__setitem__, host.name, address))
    took_s = net.run_until(
        lambda: (
            a.node.peers[b.name].mapping.current == b.locator
            and b.node.peers[a.name].mapping.current == a.locator
        )
    )
    net.run_for(1)
    return {
        "update_ms": update_s * 1000,
        "lookups_of_both": len(a.lookups) + len(b.lookups),
        "found_ms": round(took_s * 1000, 1),
    }


def _resident_kb() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


if __name__ == "__main__":
    main()

"""What a scrape costs: `vipnet metrics` of a host with 1 to 10,000 partners, all of them heard.

    bench/scrape.py [--out FILE]

Between scrapes metrics cost nothing: they are read from what is there anyway
(tests/app/metrics/test_cost.py). Printed, and written as JSON to FILE (bench/results/scrape.json): for each
number of partners the best of several scrapes in milliseconds and the bytes of the answer, and what the
first one adds to the memory of a process, MB.
"""

from __future__ import annotations

import argparse
import os
import resource
import sys
import time
from collections import Counter
from ipaddress import IPv4Network
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final, cast

import msgspec

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from vipnet.app.engine import now
from vipnet.app.metrics.collect import Metrics
from vipnet.app.movehistory import MoveHistory
from vipnet.core.host import Host
from vipnet.core.node import Node
from vipnet.core.outputs import StoreClock, StoredState, StorePeer
from vipnet.core.tokens import TokenSpace
from vipnet.core.trust import AcceptPolicy
from vipnet.policy import Policy
from vipnet.types import Fqdn, Locator, PublicKey

PARTNERS: Final = (1, 10, 100, 1000, 10_000)
TRIES: Final = 7


def node_with(partners: int) -> Node:
    """A node that has heard from PARTNERS."""
    host = Host(
        Fqdn("a.example.org"),
        bytes(range(32)),
        policy=Policy(),
        space=TokenSpace(IPv4Network("240.0.0.0/4")),
        accept=AcceptPolicy(()),
        random_bytes=os.urandom,
        unix_us=lambda: time.time_ns() // 1000,
        clock=StoreClock(0, 0),
    )
    peers = [
        StorePeer(
            Fqdn(f"host-{number}.example.org"),
            PublicKey(number.to_bytes(32, "big")),
            "dns",
            locators=(Locator("192.0.2.1", 5847),),
        )
        for number in range(1, partners + 1)
    ]
    node = Node(host, StoredState(peers=list(peers)))
    for peer in node.peers.values():
        peer.mapping.last_heard = now()
        peer.rtt.sample(0.02)
        peer.rx_bytes = peer.tx_bytes = 123_456_789
    return node


def metrics_of(node: Node) -> Metrics:
    """All of it, but with a name service and a publisher that have only their numbers."""
    engine = SimpleNamespace(
        node=node, moves=MoveHistory(), counters=Counter(), sessions_begun={"us": 1, "peer": 2}
    )
    names = SimpleNamespace(counters=Counter(), answers={"token": 1, "passed_on": 2, "failed": 3})
    publishing = SimpleNamespace(state="off", updates={"ok": 0, "failed": 0}, succeeded_at=None)
    anything = cast("Any", SimpleNamespace)
    return Metrics(
        engine=cast("Any", engine),
        names=cast("Any", names),
        resolver=anything(counters=Counter()),
        publishing=cast("Any", publishing),
        state=lambda: "ready",
        offloads=lambda: {"tun": True},
    )


def best_ms(metrics: Metrics) -> float:
    taken = []
    for _ in range(TRIES):
        begin = time.perf_counter()
        metrics.text()
        taken.append(time.perf_counter() - begin)
    return min(taken) * 1000


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--out", type=Path)
    out = parser.parse_args().out
    nodes = {partners: node_with(partners) for partners in PARTNERS}
    before_mb = peak_mb()
    metrics_of(nodes[1]).text()
    first_mb = peak_mb() - before_mb
    scrapes = []
    for partners, node in nodes.items():
        metrics = metrics_of(node)
        scrapes.append({"partners": partners, "ms": best_ms(metrics), "bytes": len(metrics.text())})
        print("{partners:>6} partners  {ms:8.2f} ms  {bytes:>9,} bytes".format(**scrapes[-1]))
    print(f"the first adds {first_mb:.1f} MB")
    if out is not None:
        result = {"schema": 1, "first_mb": first_mb, "scrapes": scrapes}
        out.write_bytes(msgspec.json.format(msgspec.json.encode(result), indent=2) + b"\n")


if __name__ == "__main__":
    main()

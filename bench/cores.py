"""Whether a second core would help: packets sealed and opened by one thread, two threads, two processes.

    ./run bench cores [--seconds 2]

Every worker has a session of its own and does what a daemon does for bulk TCP, without the kernel.
The ratio says how much more two of them do than one: 2 where nothing is shared, 1 where they wait
for each other.
"""

from __future__ import annotations

import multiprocessing
import statistics
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import click

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.packets import LOADS, session

from vipnet.core.opening import Opener, buffer_size
from vipnet.core.sealing import seal
from vipnet.crypto.transport import Cipher

_ROUNDS: Final = 5


def work(seconds: float, begin: Callable[[], object], done: Callable[[int], None]) -> None:
    """Seal and open until SECONDS are over; tell DONE how many segments that were."""
    (tcp,) = (load for load in LOADS if load.name == "tcp")
    sender, receiver = (session(Cipher.AES_256_GCM, ours=ours) for ours in (True, False))
    buffer = memoryview(bytearray(buffer_size(1 << 17, 100)))
    begin()
    ends, segments = time.perf_counter() + seconds, 0
    while time.perf_counter() < ends:
        for block in seal(sender, tcp.packets(bytes(8))):
            Opener(receiver, buffer).open(memoryview(block.payload), block.segment_size)
        segments += tcp.number
    done(segments)


def in_threads(number: int, seconds: float) -> int:
    begin, counts = threading.Barrier(number), list[int]()
    workers = [
        threading.Thread(target=work, args=(seconds, begin.wait, counts.append)) for _ in range(number)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return sum(counts)


def in_processes(number: int, seconds: float) -> int:
    context = multiprocessing.get_context("fork")
    begin, counts = context.Barrier(number), context.SimpleQueue()
    workers = [context.Process(target=work, args=(seconds, begin.wait, counts.put)) for _ in range(number)]
    for worker in workers:
        worker.start()
    total: int = sum(counts.get() for _ in workers)
    for worker in workers:
        worker.join()
    return total


@click.command(help=__doc__)
@click.option("--seconds", default=2.0, show_default=True, help="Of each measurement.")
def main(seconds: float) -> None:
    ways: dict[str, Callable[[], int]] = {
        "one thread": lambda: in_threads(1, seconds),
        "two threads": lambda: in_threads(2, seconds),
        "two processes": lambda: in_processes(2, seconds),
    }
    found: dict[str, list[int]] = {name: [] for name in ways}
    for _ in range(_ROUNDS):
        for name, measure in ways.items():
            found[name].append(measure())
    one = statistics.median(found["one thread"])
    for name, counts in found.items():
        each = statistics.median(counts)
        print(f"{name:<14}{each / seconds / 1000:8.0f} thousand segments a second{each / one:8.2f}")


if __name__ == "__main__":
    main()

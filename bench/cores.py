"""Whether a second core would help: packets sealed and opened by one thread, two threads, two processes.

    ./run bench cores [--seconds 2]

    workers    each has a session of its own and does what a daemon does for bulk TCP, without the
               kernel. The ratio says how much more two do than one: 2 where nothing is shared, 1
               where they wait for each other
    handed     one side by side with a helper that it hands every second super-packet of four, as
               many as one read of tun0 gives, and waits for: what handing over costs is in it
    cipher     two threads that do nothing but encrypt: from which size on the library lets go of
               the interpreter's lock

`sudo ./run bench alone` measures the daemon itself, the kernel's part included.
"""

from __future__ import annotations

import multiprocessing
import os
import statistics
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import click
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.packets import LOADS, session

from vipnet.core.opening import Opener, buffer_size
from vipnet.core.sealing import seal
from vipnet.core.session import Session
from vipnet.crypto.transport import Cipher

_ROUNDS: Final = 5
_TOGETHER: Final = 4  # super-packets: what one read of tun0 gives
_SIZES: Final = (1_420, 4_096, 16_384, 65_536)  # bytes of plaintext; the first is a segment's
_TAG: Final = 16


# --- each for itself


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


# --- handed over


class Helper:
    """Seals as many super-packets as it is told by a pipe, and says when it has; a thread or a process.

    It has packets of its own, so that no memory is copied between the two: the best case.
    """

    def __init__(self, kind: type[threading.Thread | multiprocessing.context.ForkProcess]) -> None:
        wanted, self._want = os.pipe()
        self._sealed, sealed = os.pipe()

        def run() -> None:
            sender = session(Cipher.AES_256_GCM, ours=True)
            while number := os.read(wanted, 1)[0]:
                seal_some(sender, number)
                os.write(sealed, bytes((number,)))

        self._runner = kind(target=run)
        self._runner.start()
        self._ends = (wanted, self._want, self._sealed, sealed)

    def begin(self, number: int) -> None:
        os.write(self._want, bytes((number,)))

    def wait(self) -> int:
        """How many it has sealed."""
        return os.read(self._sealed, 1)[0]

    def close(self) -> None:
        self.begin(0)
        self._runner.join()
        for end in self._ends:
            os.close(end)


def seal_some(sender: Session, number: int) -> int:
    """Seal NUMBER super-packets; return how many segments those are."""
    (tcp,) = (load for load in LOADS if load.name == "tcp")
    for _ in range(number):
        seal(sender, tcp.packets(bytes(8)))
    return number * tcp.number


def handed(kind: type[threading.Thread | multiprocessing.context.ForkProcess] | None, seconds: float) -> int:
    """Segments sealed, half of them by a helper of KIND; None: there is none."""
    sender, helper = session(Cipher.AES_256_GCM, ours=True), None if kind is None else Helper(kind)
    ends, segments = time.perf_counter() + seconds, 0
    while time.perf_counter() < ends:
        if helper is None:
            segments += seal_some(sender, _TOGETHER)
            continue
        helper.begin(_TOGETHER // 2)
        segments += 2 * seal_some(sender, _TOGETHER // 2)
        helper.wait()
    if helper is not None:
        helper.close()
    return segments


# --- the cipher alone


def cipher_speed_up(size: int, seconds: float) -> float:
    """How much more two threads encrypt than one, SIZE bytes at a time."""
    return encrypted(2, size, seconds) / encrypted(1, size, seconds)


def encrypted(threads: int, size: int, seconds: float) -> int:
    """How often THREADS together encrypt SIZE bytes in SECONDS."""
    counts: list[int] = []

    def encrypt() -> None:
        into, plaintext, out = AESGCM(bytes(32)).encrypt_into, bytes(size), bytearray(size + _TAG)
        nonce, count, ends = bytes(12), 0, time.perf_counter() + seconds
        while time.perf_counter() < ends:
            for _ in range(100):
                into(nonce, plaintext, None, out)
            count += 100
        counts.append(count)

    workers = [threading.Thread(target=encrypt) for _ in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return sum(counts)


def compare(ways: dict[str, Callable[[], int]], seconds: float) -> None:
    """Print how many segments a second each of WAYS does, and what that is to the first; in turn."""
    found: dict[str, list[int]] = {name: [] for name in ways}
    for _ in range(_ROUNDS):
        for name, measure in ways.items():
            found[name].append(measure())
    one = statistics.median(next(iter(found.values())))
    for name, counts in found.items():
        each = statistics.median(counts)
        print(f"{name:<22}{each / seconds / 1000:8.0f} thousand segments a second{each / one:8.2f}")


@click.command(help=__doc__)
@click.option("--seconds", default=2.0, show_default=True, help="Of each measurement.")
def main(seconds: float) -> None:
    fork = multiprocessing.get_context("fork").Process
    print("workers: sealed and opened")
    compare(
        {
            "one thread": lambda: in_threads(1, seconds),
            "two threads": lambda: in_threads(2, seconds),
            "two processes": lambda: in_processes(2, seconds),
        },
        seconds,
    )
    print("handed: sealed, half of it by a helper")
    compare(
        {
            "no helper": lambda: handed(None, seconds),
            "a thread": lambda: handed(threading.Thread, seconds),
            "a process": lambda: handed(fork, seconds),
        },
        seconds,
    )
    print("cipher: two threads to one, AES-256-GCM")
    for size in _SIZES:
        ratio = statistics.median(cipher_speed_up(size, seconds / 2) for _ in range(_ROUNDS))
        print(f"{size:>7,} bytes {ratio:39.2f}")


if __name__ == "__main__":
    main()

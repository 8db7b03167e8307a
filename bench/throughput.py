"""How fast packets go: the bare wire, vipnet and other overlays, in turn, in one run.

    ./run bench throughput [--rounds 5] [--seconds 3] [--only NAME ...] [--json FILE] [--plot FILE]

Every overlay has two hosts and a wire of its own (`bench/testbed.py`); all are up at once, one is
measured at a time, and each case goes through all of them before the next one begins, so that
whatever else the machine does falls on all alike. Traffic is iperf3's, in both directions.

    tcp_1, tcp_8      Mbit/s of payload received, 1 and 8 connections
    udp_1200, udp_64  datagrams a second received of those sent as fast as the sender can
    udp_clean         the highest rate of 1,200-byte datagrams, Mbit/s, with less than 1 % lost
    ping              round trip of the idle tunnel, ms: five times in a round the median of 100
    ping_loaded       the same while one TCP connection runs at full speed
    cpu_per_gb        seconds of CPU of the whole machine for 10^9 bytes of tcp_1
    memory            resident set of the larger daemon, MB: idle, and the largest seen under load

Exit status 1 when something could not be measured.
"""

from __future__ import annotations

import contextlib
import json
import re
import statistics
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import click
import msgspec

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.environment import environment
from bench.overlays import Overlay
from bench.overlays.all import OVERLAYS
from bench.testbed import Host, Testbed, TestbedError, machine_cpu_s, resident_mb, testbed

from vipnet.lab import lifecycle

_PORT: Final = "5201"
_GRACE_S: Final = 20.0  # for iperf3 to say what it saw, over a tunnel that it has just flooded
_CLEAN_LOSS: Final = 1.0  # per cent
_CLEAN_STEPS: Final = 6
_SAMPLE_S: Final = 0.1
_TURNS: Final = {"ping": 5}  # in a round: what a round trip takes changes within seconds


class Way(NamedTuple):
    """From `sender` to `receiver`."""

    sender: Host
    receiver: Host

    def __str__(self) -> str:
        return f"{self.sender.label}>{self.receiver.label}"


class Meter:
    """Measures one overlay; figures go to `found[case][way]`."""

    def __init__(self, overlay: Overlay, seconds: float) -> None:
        self.overlay, self.bed, self.seconds = overlay, overlay.bed, seconds
        self.found: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
        self.failed: list[str] = []
        self.cases: dict[str, Callable[[Way], None]] = {
            "ping": self._ping,
            "tcp_1": self._tcp_1,
            "tcp_8": lambda way: self._note("tcp_8", way, self._tcp(way, 8)),
            "udp_1200": lambda way: self._note("udp_1200", way, self._flood(way, 1200)),
            "udp_64": lambda way: self._note("udp_64", way, self._flood(way, 64)),
            "udp_clean": lambda way: self._note("udp_clean", way, self._clean_rate(way)),
            "ping_loaded": self._ping_loaded,
        }

    def ways(self) -> tuple[Way, Way]:
        return Way(self.bed.a, self.bed.b), Way(self.bed.b, self.bed.a)

    def measure(self, case: str, way: Way) -> None:
        """Find the figure; what went wrong is in `failed`."""
        try:
            with self._server(way.receiver):
                self.cases[case](way)
        except (TestbedError, subprocess.TimeoutExpired, KeyError, ValueError) as error:
            self.failed.append(f"{self.overlay.name} {case} {way}: {error}")

    def _note(self, case: str, way: Way, value: float) -> None:
        self.found[case][str(way)].append(value)

    # --- TCP

    def _tcp_1(self, way: Way) -> None:
        with self._watch_memory():
            before = machine_cpu_s()
            mbit_s = self._tcp(way, 1)
            spent_s = machine_cpu_s() - before
        self._note("tcp_1", way, mbit_s)
        self._note("cpu_per_gb", way, spent_s / (mbit_s * 1e6 / 8 * self.seconds / 1e9))

    def _tcp(self, way: Way, flows: int) -> float:
        end = self._iperf(way, "-P", str(flows))["end"]
        return float(end["sum_received"]["bits_per_second"]) / 1e6

    # --- UDP

    def _flood(self, way: Way, size_bytes: int) -> float:
        """Datagrams a second that arrive of as many as the sender can send."""
        end = self._iperf(way, "-u", "-b", "0", "-l", str(size_bytes))["end"]["sum"]
        return float((end["packets"] - end["lost_packets"]) / end["seconds"])

    def _clean_rate(self, way: Way) -> float:
        """By bisection from what TCP carries; Mbit/s."""
        low, high = 0.0, 1.5 * max(self.found["tcp_1"][str(way)])
        for _ in range(_CLEAN_STEPS):
            rate = (low + high) / 2
            options = ("-u", "-b", f"{rate:.0f}M", "-l", "1200", "-t", str(max(1.0, self.seconds / 2)))
            end = self._iperf(way, *options)["end"]["sum"]
            reached = end["bits_per_second"] / 1e6
            if end["lost_percent"] < _CLEAN_LOSS:
                low = max(low, min(rate, reached))
                if reached < 0.9 * rate:
                    break  # the sender can no more
            else:
                high = rate
        return low

    # --- ping

    def _ping(self, way: Way) -> None:
        self._note("ping", way, self._ping_ms(way, 100, 0.01))

    def _ping_loaded(self, way: Way) -> None:
        client = self._iperf_words(way, "-t", str(self.seconds + 1))
        load = subprocess.Popen(client, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            time.sleep(0.5)
            self._note("ping_loaded", way, self._ping_ms(way, int(self.seconds / 0.02), 0.02))
        finally:
            load.wait(self.seconds + _GRACE_S)

    def _ping_ms(self, way: Way, number: int, gap_s: float) -> float:
        target = self.overlay.address(way.receiver)
        said = way.sender.run("ping", "-n", "-c", str(number), "-i", str(gap_s), target)
        return statistics.median(map(float, re.findall(r"time=([\d.]+) ms", said)))

    # --- iperf3, memory

    def _iperf(self, way: Way, *options: str) -> dict[str, Any]:
        words = self._iperf_words(way, "-t", str(self.seconds), *options)
        done = subprocess.run(
            words, check=False, capture_output=True, text=True, timeout=self.seconds + _GRACE_S
        )
        result: dict[str, Any] = json.loads(done.stdout or "{}")
        if done.returncode or "error" in result:
            raise TestbedError(f"iperf3 {' '.join(options)}: {result.get('error', done.stderr.strip())}")
        return result

    def _iperf_words(self, way: Way, *options: str) -> list[str]:
        target = self.overlay.address(way.receiver)
        return way.sender.command("iperf3", "-c", target, "-p", _PORT, "-J", *options)

    @contextlib.contextmanager
    def _server(self, host: Host) -> Iterator[None]:
        server = self.bed.start(host, "iperf3", "-s", "-p", _PORT, log="iperf3.log")
        try:
            listening = ("ss", "-Hltn", "sport", "=", f":{_PORT}")
            self.bed.until(lambda: bool(host.run(*listening).strip()), "iperf3")
            yield
        finally:
            self.bed.stop(server)

    @contextlib.contextmanager
    def _watch_memory(self) -> Iterator[None]:
        done, largest = threading.Event(), [0.0]

        def sample() -> None:
            while not done.wait(_SAMPLE_S):
                largest[0] = max(largest[0], resident_mb(self.overlay.pids))

        watcher = threading.Thread(target=sample)
        watcher.start()
        try:
            yield
        finally:
            done.set()
            watcher.join()
            self.found["memory_loaded"]["both"].append(largest[0])


# --- all of them


def measure(names: tuple[str, ...], rounds: int, seconds: float) -> dict[str, Any]:
    """The whole run as the JSON document that `--json` writes."""
    left_out = {overlay.name: overlay.missing() for overlay in OVERLAYS if overlay.missing()}
    chosen = [cls for cls in OVERLAYS if cls.name not in left_out and (not names or cls.name in names)]
    with lifecycle.interrupts_raise(), contextlib.ExitStack() as stack:
        meters = [Meter(_started(cls, stack), seconds) for cls in chosen]
        time.sleep(2)
        for meter in meters:
            meter.found["memory_idle"]["both"].append(resident_mb(meter.overlay.pids))
        for number in range(rounds):
            for ways in zip(*(meter.ways() for meter in meters), strict=True):
                for case in meters[0].cases:
                    _say(f"round {number + 1} of {rounds}: {case} {ways[0]}")
                    for meter, way in list(zip(meters, ways, strict=True)) * _TURNS.get(case, 1):
                        meter.measure(case, way)
        return {
            "schema": 1,
            "environment": msgspec.to_builtins(environment()),
            "rounds": rounds,
            "seconds": seconds,
            "left_out": left_out,
            "overlays": {meter.overlay.name: _summary(meter) for meter in meters},
        }


def _started(cls: type[Overlay], stack: contextlib.ExitStack) -> Overlay:
    _say(f"starting {cls.name}")
    bed: Testbed = stack.enter_context(testbed())
    overlay = cls(bed)
    overlay.start()
    return overlay


def _summary(meter: Meter) -> dict[str, Any]:
    figures = {
        case: {
            way: {"min": min(values), "median": statistics.median(values), "max": max(values), "all": values}
            for way, values in ways.items()
        }
        for case, ways in meter.found.items()
    }
    return {"version": meter.overlay.version(), "figures": figures, "failed": meter.failed}


def table(document: dict[str, Any]) -> str:
    """Medians, and what they are to wireguard-go's."""
    lines = [f"{'case':<14}{'way':<6}" + "".join(f"{name:>20}" for name in document["overlays"])]
    overlays = document["overlays"]
    reference = overlays.get("wireguard-go", {"figures": {}})["figures"]
    rows = sorted(
        {(case, way) for one in overlays.values() for case in one["figures"] for way in one["figures"][case]}
    )
    for case, way in rows:
        cells = []
        for one in overlays.values():
            median = one["figures"].get(case, {}).get(way, {}).get("median")
            base = reference.get(case, {}).get(way, {}).get("median")
            ratio = f" ({median / base:.2f})" if median is not None and base else ""
            cells.append(
                f"{'-' if median is None else f'{median:,.3g}' if median < 100 else f'{median:,.0f}'}{ratio}"
            )
        lines.append(f"{case:<14}{way:<6}" + "".join(f"{cell:>20}" for cell in cells))
    return "\n".join(lines)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


@click.command(help=__doc__)
@click.option("--rounds", type=click.IntRange(min=1), default=5, show_default=True)
@click.option(
    "--seconds",
    type=click.FloatRange(min=1),  # below iperf3 takes it for 0: without end
    default=3.0,
    show_default=True,
    help="Of each measurement.",
)
@click.option("--only", "names", multiple=True, type=click.Choice([cls.name for cls in OVERLAYS]))
@click.option("--json", "json_file", type=click.Path(path_type=Path))
@click.option("--plot", "plot_file", type=click.Path(path_type=Path), help="An SVG.")
def main(
    rounds: int, seconds: float, names: tuple[str, ...], json_file: Path | None, plot_file: Path | None
) -> None:
    document = measure(names, rounds, seconds)
    if json_file is not None:
        json_file.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    if plot_file is not None:
        from bench.plots import throughput_plot  # matplotlib is slow to import

        throughput_plot(document, plot_file)
    print(table(document))
    failed = [line for one in document["overlays"].values() for line in one["failed"]]
    for line in failed:
        _say(f"not measured: {line}")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()

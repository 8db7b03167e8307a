"""What one BIND can take of a zone of mobile hosts: signed updates and queries, by dnsperf on loopback.

    .venv/bin/python bench/zone.py [--hosts 1000000] [--seconds 8]

Needs named and dnsperf (`./run bench` installs them). Server and sender share the machine.
Writes bench/results/zone.json.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import platform
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

sys.path.insert(0, str(Path(__file__).parents[1]))  # as a program, too, this is a part of `bench`

from bench.environment import cpu

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "bench/results/zone.json"
ZONE, HOST = "m.example", "127.0.0.1"
SECRET = base64.b64encode(b"thirty-two bytes of bench secret").decode()
NAMES = 20_000  # hosts that are asked for and move

CONFIG = """
options {{
    directory "{directory}"; pid-file "{directory}/named.pid"; session-keyfile none;
    managed-keys-directory "{directory}";
    listen-on port {port} {{ {host}; }}; listen-on-v6 {{ none; }};
    recursion no; dnssec-validation no; notify no; minimal-responses yes; max-journal-size 512m;
}};
controls {{ }};
key mover {{ algorithm hmac-sha256; secret "{secret}"; }};
zone "{zone}" {{ type primary; file "{directory}/zone"; update-policy {{ grant mover zonesub any; }}; }};
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--hosts", type=int, default=1_000_000, help="in the zone")
    parser.add_argument("--seconds", type=int, default=8, help="of each measurement")
    options = parser.parse_args()
    results: dict[str, object] = {
        "machine": f"{cpu()}, {os.cpu_count()} cores, {platform.system()} {platform.release()}",
        "bind": subprocess.run(["named", "-v"], capture_output=True, text=True, check=True).stdout.strip(),
        "hosts": options.hosts,
    }
    with (
        tempfile.TemporaryDirectory(prefix="vipnet-zone-") as directory,
        bind(Path(directory), options.hosts) as (
            process,
            loaded_s,
            port,
        ),
    ):
        results["load_s"], results["memory_mb"] = round(loaded_s, 1), _resident_mb(process.pid)
        results["zone_file_mb"] = round((Path(directory) / "zone").stat().st_size / 1e6, 1)
        perf = Dnsperf(Path(directory), port, options.seconds)
        results["queries_per_s"] = perf.queries()
        journal = Path(directory) / "zone.jnl"
        done = perf.updates()
        results["updates_per_s"] = done["per_s"]
        results["journal_bytes_per_update"] = round(journal.stat().st_size / done["completed"])
        results["update_latency_ms"] = done["latency_ms"]
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(results, indent=2) + "\n")
    json.dump(results, sys.stdout, indent=2)
    print()


class Dnsperf:
    """Runs of dnsperf, which sends as fast as answers come, 100 under way at once."""

    def __init__(self, directory: Path, port: int, seconds: int) -> None:
        self._directory, self._port, self._seconds = directory, port, seconds

    def queries(self) -> float:
        """The three questions of a look-up, of random hosts."""
        kinds = ("{name} A", "{name} AAAA", "_vip.{name} TXT")
        lines = [kind.format(name=name) for name in self._names() for kind in kinds]
        return self._run(lines, [])["per_s"]

    def updates(self) -> dict[str, float]:
        """As vipnet sends them: the marker as a condition, and its next number with the address."""
        blocks = [
            f'{ZONE}\nrequire _seq._vip.{host} TXT "seq=1"\ndelete _seq._vip.{host} TXT\n'
            f'add _seq._vip.{host} 5 TXT "seq=2"\ndelete {host} A\n'
            f"add {host} 5 A 198.51.{n >> 8 & 255}.{n & 255}\nsend"
            for n, host in enumerate(f"h{number}" for number in range(1, NAMES + 1))
        ]
        return self._run(blocks, ["-u", "-y", f"hmac-sha256:mover:{SECRET}", "-n", "1", "-q", "100"])

    def _names(self) -> Iterator[str]:
        random = Random(1)
        for _ in range(NAMES):
            yield f"h{random.randint(1, NAMES)}.{ZONE}"

    def _run(self, lines: list[str], options: list[str]) -> dict[str, float]:
        data = self._directory / "dnsperf.txt"
        data.write_text("\n".join(lines) + "\n")
        command = ["dnsperf", "-s", HOST, "-p", str(self._port), "-d", str(data), "-l", str(self._seconds)]
        printed = subprocess.run(
            [*command, *options], capture_output=True, text=True, check=True, timeout=self._seconds + 60
        ).stdout
        answered = _number(r"NOERROR (\d+)", printed)
        if answered < 0.9 * _number(r"completed:\s+(\d+)", printed):
            raise SystemExit(f"most of what was sent was refused:\n{printed}")
        return {
            "per_s": round(_number(r"per second:\s+([\d.]+)", printed)),
            "completed": _number(r"completed:\s+(\d+)", printed),
            "latency_ms": round(1000 * _number(r"Average Latency \(s\):\s+([\d.]+)", printed), 2),
        }


def _number(pattern: str, text: str) -> float:
    found = re.search(pattern, text)
    if found is None:
        raise SystemExit(f"dnsperf does not say {pattern}:\n{text}")
    return float(found[1])


@contextmanager
def bind(directory: Path, hosts: int) -> Iterator[tuple[subprocess.Popen[bytes], float, int]]:
    """A primary of ZONE with HOSTS hosts; the process, how long it took to load, and its port."""
    directory.chmod(0o755)
    _write_zone(directory / "zone", hosts)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind((HOST, 0))
        port = probe.getsockname()[1]
    config = directory / "named.conf"
    config.write_text(CONFIG.format(directory=directory, port=port, host=HOST, secret=SECRET, zone=ZONE))
    begun = time.monotonic()
    with (directory / "named.log").open("wb") as log:
        process = subprocess.Popen(["named", "-g", "-c", str(config)], stdout=log, stderr=log)
        try:
            _wait(lambda: _answers(port) or process.poll() is not None, 100)
            if process.poll() is not None:
                raise SystemExit(f"named: {(directory / 'named.log').read_text()}")
            yield process, time.monotonic() - begun, port
        finally:
            process.terminate()
            process.wait(60)


def _write_zone(path: Path, hosts: int) -> None:
    key = base64.b64encode(bytes(32)).decode()
    with path.open("w") as zone:
        zone.write(f"$ORIGIN {ZONE}.\n$TTL 5\n@ SOA ns h 1 3600 600 86400 2\n@ NS ns\nns A {HOST}\n")
        for n in range(1, hosts + 1):
            zone.write(
                f"h{n} A 203.0.{n >> 8 & 255}.{n & 255}\n"
                f'_vip.h{n} 300 TXT "v=vip1 k={key} p=5847"\n_seq._vip.h{n} TXT "seq=1"\n'
            )


def _answers(port: int) -> bool:
    command = ["dig", f"@{HOST}", "-p", str(port), "+short", "+tries=1", "+timeout=1", f"h1.{ZONE}", "A"]
    return b"203.0" in subprocess.run(command, capture_output=True, check=False).stdout


def _wait(condition: Callable[[], bool], limit_s: float) -> None:
    end = time.monotonic() + limit_s
    while not condition():
        if time.monotonic() > end:
            raise SystemExit("named does not answer")
        time.sleep(0.1)


def _resident_mb(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) // 1024  # type: ignore[index]


if __name__ == "__main__":
    main()

"""A program from the newest Debian suite that can be reached, beside the installed one.

A release's build may be years behind what people would compare with: bookworm's
wireguard-go has no offloads, trixie's has.
"""

from __future__ import annotations

import hashlib
import lzma
import subprocess
import tempfile
import threading
import urllib.error
import urllib.request
from pathlib import Path
from typing import Final, NamedTuple

from bench.testbed import TestbedError

_MIRROR: Final = "http://deb.debian.org/debian"
_SUITES: Final = ("trixie",)  # after the one that is installed
_CACHE: Final = Path(tempfile.gettempdir()) / "vipnet-bench-packages"
_TIMEOUT_S: Final = 60
_one_at_a_time = threading.Lock()  # overlays may start side by side


class Program(NamedTuple):
    path: Path
    version: str


def newest(package: str, inside: str) -> Program:
    """PACKAGE's file INSIDE: from a newer suite when that is reachable, else as installed."""
    with _one_at_a_time:
        return _newest(package, inside)


def _newest(package: str, inside: str) -> Program:
    for suite in _SUITES:
        try:
            return _of_suite(package, inside, suite)
        except (urllib.error.URLError, TimeoutError):
            continue
    path = Path("/") / inside
    if not path.exists():
        raise TestbedError(f"{package} is neither installed nor can it be fetched")
    show = ["dpkg-query", "--show", "--showformat=${Version}", package]
    return Program(path, subprocess.run(show, capture_output=True, text=True, check=True).stdout)


def _of_suite(package: str, inside: str, suite: str) -> Program:
    machine = subprocess.run(
        ["dpkg", "--print-architecture"], capture_output=True, text=True, check=True
    ).stdout.strip()
    _CACHE.mkdir(mode=0o700, exist_ok=True)
    index = _CACHE / f"{suite}-{machine}-Packages.xz"
    if not index.exists():
        index.write_bytes(_fetch(f"dists/{suite}/main/binary-{machine}/Packages.xz"))
    with lzma.open(index, "rt", encoding="utf-8") as packages:
        record = _record(packages.read(), package)
    unpacked = _CACHE / f"{package}-{record['Version'].replace('/', '_')}"
    if not unpacked.exists():
        content = _fetch(record["Filename"])
        if hashlib.sha256(content).hexdigest() != record["SHA256"]:
            raise TestbedError(f"{record['Filename']}: not what {suite} lists")
        deb = _CACHE / f"{package}.deb"
        deb.write_bytes(content)
        subprocess.run(["dpkg-deb", "-x", str(deb), str(unpacked)], check=True)
    return Program(unpacked / inside, f"{record['Version']} ({suite})")


def _record(packages: str, package: str) -> dict[str, str]:
    """PACKAGE's paragraph of a Packages file, first lines of its fields."""
    start = packages.find(f"\nPackage: {package}\n")
    if start < 0:
        raise TestbedError(f"{package} is in no Packages file")
    paragraph = packages[start + 1 : packages.find("\n\n", start + 1)]
    lines = [line for line in paragraph.splitlines() if not line.startswith(" ")]
    return dict(line.split(": ", 1) for line in lines if ": " in line)


def _fetch(path: str) -> bytes:
    with urllib.request.urlopen(f"{_MIRROR}/{path}", timeout=_TIMEOUT_S) as answer:
        content: bytes = answer.read()
    return content

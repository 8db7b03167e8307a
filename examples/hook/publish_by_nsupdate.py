#!/usr/bin/env python3
"""A hook for `[publish] command`: what vipnet wants DNS to say, handed to BIND's nsupdate.

usage: publish_by_nsupdate.py KEYFILE [SERVER [PORT]]

KEYFILE is as tsig-keygen writes it. Without SERVER the zone's SOA record says who it is. vipnet speaks this
protocol by itself (provider = "rfc2136"); this file shows what a hook gets, and how it answers:
docs/providers.md has the rules. For another provider replace `send`.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

REFUSED_FOR_GOOD = 77  # EX_NOPERM of sysexits.h: vipnet does not ask again
MAY_PASS = 75  # EX_TEMPFAIL: it tries again later
NEVER_WORKS = ("REFUSED", "NOTAUTH", "NOTZONE", "BADKEY", "BADSIG", "could not read key")


def wanted(order: dict[str, Any]) -> list[str]:
    """The lines that make DNS say exactly what ORDER does; texts that it does not name are left alone."""
    name, ttl_s = order["name"], order["ttl_s"]
    lines = []
    if order["action"] == "publish":  # withdrawing, the addresses stay
        for rdtype, addresses in (("A", order["ipv4"]), ("AAAA", order["ipv6"])):
            lines.append(f"update delete {name}. {rdtype}")
            lines += [f"update add {name}. {ttl_s} {rdtype} {address}" for address in addresses]
    for owner, text in order["txt"].items():
        lines.append(f"update delete {owner}. TXT")
        if text is not None:
            lines.append(f'update add {owner}. 3600 TXT "{text}"')
    return lines


def send(lines: list[str], key_file: str, server: list[str]) -> str:
    """Have all of LINES done at once. Return what is wrong, "" when it is done."""
    first = ["server " + " ".join(server)] if server else []
    done = subprocess.run(
        ["nsupdate", "-k", key_file, "-t", "20"],  # seconds; vipnet waits for 30
        input="\n".join([*first, *lines, "send", ""]),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return "" if done.returncode == 0 else done.stdout.strip() or f"nsupdate: exit status {done.returncode}"


def main() -> int:
    if not 2 <= len(sys.argv) <= 4 or sys.argv[1].startswith("-"):
        print(__doc__)
        return 2
    problem = send(wanted(json.load(sys.stdin)), sys.argv[1], sys.argv[2:])
    if not problem:
        return 0
    print(problem.splitlines()[-1], file=sys.stderr)  # what `vipnet status` shows
    return REFUSED_FOR_GOOD if any(word in problem for word in NEVER_WORKS) else MAY_PASS


if __name__ == "__main__":
    sys.exit(main())

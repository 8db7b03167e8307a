"""The log in the journal of a real journald, which runs in namespaces and on a /run of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.support import need, need_program, need_root

_ALONE = ("unshare", "--mount", "--pid", "--net", "--fork", "--kill-child", "--mount-proc")
JOURNALD = Path("/lib/systemd/systemd-journald")
# $1: a program that logs, $2: what runs it. The process namespace keeps journald from the kernel's audit.
_SCRIPT = """
mount --make-rprivate /
mount -t tmpfs tmpfs /run
mkdir -p /run/systemd/journal /run/log/journal
[ -s /etc/machine-id ] || { echo $(printf %032d 7) >/run/id; mount -B /run/id /etc/machine-id; }
/lib/systemd/systemd-journald >/run/journald.log 2>&1 &
tries=0
until [ -S /run/systemd/journal/socket ]; do
    tries=$((tries + 1)); [ $tries -lt 400 ] || { cat /run/journald.log >&2; exit 1; }
    sleep 0.05
done
JOURNAL_STREAM=$(stat -Lc %d:%i /dev/fd/2) "$2" -c "$1"
tries=0
until journalctl --directory=/run/log/journal --output=json VIPNET_EVENT=test.over 2>/dev/null | grep -q .; do
    tries=$((tries + 1)); [ $tries -lt 400 ] || { cat /run/journald.log >&2; exit 1; }
    sleep 0.05
done
journalctl --directory=/run/log/journal --output=json SYSLOG_IDENTIFIER=vipnet
"""
_PROGRAM = """
import logging
from vipnet.app.logs import configure_logging
configure_logging()
log = logging.getLogger("vipnet.test")
log.warning("path.lost", extra={"peer": "b.example.org", "silent_s": 1.5})
log.info("session.closed", extra={"peer": "b.example.org", "reason": "two\\nlines"})
try:
    1 / 0
except ZeroDivisionError:
    log.exception("control.failed", extra={"op": "status"})
log.info("test.over")
"""


def test_an_event_is_an_entry_with_its_fields(tmp_path: Path) -> None:
    need_root()
    need_program("unshare", "journalctl")
    need(JOURNALD.exists(), str(JOURNALD))
    errors = tmp_path / "stderr"
    with errors.open("w") as stderr:
        done = subprocess.run(
            [*_ALONE, "sh", "-ec", _SCRIPT, "sh", _PROGRAM, sys.executable],
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            timeout=60,
        )
    assert (done.returncode, errors.read_text()) == (0, "")
    lost, closed, failed, over = map(json.loads, done.stdout.splitlines())
    assert (lost["VIPNET_EVENT"], lost["PRIORITY"]) == ("path.lost", "4")
    assert (lost["VIPNET_PEER"], lost["VIPNET_SILENT_S"]) == ("b.example.org", "1.5")
    assert lost["MESSAGE"] == "path.lost peer=b.example.org silent_s=1.5"
    assert (closed["VIPNET_REASON"], closed["PRIORITY"]) == ("two\nlines", "6")
    assert (failed["VIPNET_EVENT"], failed["PRIORITY"], failed["VIPNET_OP"]) == (
        "control.failed",
        "3",
        "status",
    )
    assert "ZeroDivisionError" in failed["MESSAGE"]
    assert over["VIPNET_EVENT"] == "test.over"

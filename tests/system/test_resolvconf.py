"""Against a program in resolvconf's place that keeps records as Debian's and openresolv's do."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

from vipnet.errors import HostError
from vipnet.system.resolvconf import RECORD, Resolvconf

US = "127.0.0.47"
PROGRAM = """#!/bin/sh
echo "$@" >>"{calls}"
case $1 in
-a) cat >"{records}/$2" ;;
-d) rm "{records}/$2" ;;
esac
"""


@pytest.fixture
def records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    directory = tmp_path / "interface"
    directory.mkdir()
    program = tmp_path / "resolvconf"
    program.write_text(PROGRAM.format(calls=tmp_path / "calls", records=directory))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    (directory / "eth0.dhclient").write_text("nameserver 192.0.2.53\nsearch example.test\n")
    (directory / "eth1.inet").write_text("nameserver 192.0.2.54\nnameserver 192.0.2.53\noptions ndots:2\n")
    return directory


def test_our_record_has_the_others_search_lists(records: Path) -> None:
    resolvconf = Resolvconf(US, records=(records, records / "none"))
    trio.run(resolvconf.take)
    trio.run(resolvconf.take)
    assert resolvconf.taken
    assert (records / RECORD).read_text() == f"nameserver {US}\nsearch example.test\noptions ndots:2\n"
    assert (records.parent / "calls").read_text() == f"-a {RECORD} -m 0 -x\n" * 2


def test_upstreams_are_the_others_and_never_we(records: Path) -> None:
    resolvconf = Resolvconf(US, records=(records,))
    before = resolvconf.upstreams()
    trio.run(resolvconf.take)
    assert resolvconf.upstreams() == before == ("192.0.2.53", "192.0.2.54")
    (records / "eth0.dhclient").write_text("nameserver 198.51.100.53\nnameserver nonsense\n")  # after a move
    assert resolvconf.upstreams() == ("198.51.100.53", "192.0.2.54", "192.0.2.53")


def test_what_a_crash_left_is_removed_once(records: Path) -> None:
    trio.run(Resolvconf(US, records=(records,)).take)
    again = Resolvconf(US, records=(records,))
    again.restore()
    again.restore()
    assert not again.taken
    assert sorted(file.name for file in records.iterdir()) == ["eth0.dhclient", "eth1.inet"]
    assert (records.parent / "calls").read_text().count("-d") == 1


def test_a_refusal_says_what_to_do(records: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (records.parent / "resolvconf").write_text("#!/bin/sh\necho 'cannot write' >&2\nexit 1\n")
    with pytest.raises(HostError, match=r'^resolvconf: cannot write; set \[dns\] hook = "file"'):
        trio.run(Resolvconf(US, records=(records,)).take)
    monkeypatch.setenv("PATH", str(records))
    with pytest.raises(HostError, match="no such program"):
        trio.run(Resolvconf(US, records=(records,)).take)

"""What the filters' programs print is taken as it is; programs here are scripts that print it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import trio
from tests.netns import namespace
from tests.support import need_program

from vipnet.app.doctor import nft
from vipnet.system.survey import firewall
from vipnet.system.survey.firewall import Firewalld, FirewallFacts

FIREWALL_CMD = """#!/bin/sh
case "$*" in
--state) echo running ;;
--get-default-zone) echo public ;;
--get-zone-of-interface=eth0) echo home ;;
--get-zone-of-interface=*) echo 'no zone' >&2; exit 2 ;;
'--zone=public --get-target --permanent') echo default ;;
'--zone=home --query-port=5847/udp') echo yes ;;
*) echo no; exit 1 ;;
esac
"""


def ask(programs: Path, monkeypatch: pytest.MonkeyPatch) -> FirewallFacts:
    monkeypatch.setattr(firewall, "_SBIN", "")
    monkeypatch.setenv("PATH", f"{programs}:/bin:/usr/bin")
    return trio.run(firewall.firewall, "tun0", 5847, ("eth0", "wlan0"))


def program(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o755)


def test_firewalld(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(tmp_path / "firewall-cmd", FIREWALL_CMD)
    found = ask(tmp_path, monkeypatch)
    assert found.firewalld == Firewalld("public", None, "default", {"home": True, "public": False})


def test_what_is_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = ask(tmp_path, monkeypatch)
    assert (found.iptables, found.firewalld) == ((), None)


def test_refusals_and_both_kinds_of_iptables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(tmp_path / "nft", "#!/bin/sh\necho 'Operation not permitted (you must be root)' >&2; exit 1\n")
    program(tmp_path / "iptables-save", "#!/bin/sh\necho '*filter'\n")
    program(tmp_path / "iptables-legacy-save", "#!/bin/sh\necho '*raw'\n")
    monkeypatch.setattr(firewall, "_has_legacy_tables", lambda kind: kind == "ip")
    found = ask(tmp_path, monkeypatch)
    assert found.nft is None
    assert found.problem == "nft: Operation not permitted (you must be root)"
    assert found.iptables == ("*filter\n", "*raw\n")
    monkeypatch.setattr(firewall, "_has_legacy_tables", lambda kind: False)
    assert ask(tmp_path, monkeypatch).iptables == ("*filter\n",), "asking would load kernel modules"


def test_the_real_nft() -> None:
    need_program("nft")

    with namespace() as space:
        space.run(
            "nft", "add table inet t; add chain inet t c { type filter hook input priority 3; policy drop; }"
        )
        # A process of its own: trio starts programs from a thread that is not inside.
        code = "import trio; from vipnet.system.survey import firewall as f;"
        code += "print(trio.run(f.firewall, 'tun0', 5847, ()).nft.decode())"
        found = space.run(sys.executable, "-c", code)
    assert [(chain.table, chain.policy) for chain in nft.chains(found.encode())] == [("inet t", "drop")]

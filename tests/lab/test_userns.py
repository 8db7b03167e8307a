from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support import need_program, need_root

from vipnet.errors import HostError
from vipnet.lab import userns
from vipnet.lab.layout import ROOT_VARIABLE

NOBODY = 65534

# Modules are imported as root: an ordinary user may not even be able to read this checkout.
ORDINARY_USER = """
import codecs, ctypes, os, sys
from pathlib import Path
from vipnet.lab import layout, processes, topology, userns

codecs.lookup("ascii")
os.setgroups([])
os.setgid({uid})
os.setuid({uid})
ctypes.CDLL(None).prctl(4, 1)  # PR_SET_DUMPABLE: /proc/self is ours again, as after an exec
record = Path({home!r}, "vipnet-lab", "holder.json")
record.parent.mkdir()
child = os.fork()
if child == 0:
    userns.hold(record)
while processes.recorded(record) is None:
    if os.waitpid(child, os.WNOHANG)[0]:
        sys.exit("no user namespaces")
userns.become_root()
assert os.geteuid() == 0
root = layout.labs_directory()
assert root == record.parent, root
lab = layout.plan(layout.LabSpec(name={name!r}), root)
topology.build(lab)
nic, _ = topology.nics(lab, lab.host("a"))
print(nic.addresses[0], *topology.lab_namespaces({name!r}))
lab.directory.mkdir()
userns.leave()
assert processes.recorded(record), "a lab is left"
lab.directory.rmdir()
topology.demolish({name!r})
userns.leave()
os.waitpid(child, 0)
print("gone" if processes.recorded(record) is None else "left")
"""


@pytest.fixture
def home() -> Iterator[Path]:
    """A run-time directory of somebody who is not root."""
    need_root()
    path = Path(tempfile.mkdtemp(prefix="vipnet-test-"))
    os.chown(path, NOBODY, NOBODY)
    yield path
    shutil.rmtree(path)


def test_an_ordinary_user_has_wires_of_his_own(home: Path) -> None:
    need_program("ip")
    name = f"u-{secrets.token_hex(4)}"
    script = ORDINARY_USER.format(uid=NOBODY, home=str(home), name=name)
    done = subprocess.run(
        [sys.executable, "-P", "-c", script],
        env={**os.environ, "XDG_RUNTIME_DIR": str(home)},
        cwd="/",
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    built, gone = done.stdout.splitlines()
    assert built.split() == ["10.201.1.10", *(f"vipnet-{name}-{label}" for label in "abr")]
    assert gone == "gone"
    assert not Path(f"/run/netns/vipnet-{name}-a").exists(), "seen in that user's namespace only"


def test_root_stays_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    need_root()
    monkeypatch.delenv(ROOT_VARIABLE, raising=False)
    userns.become_root()
    assert ROOT_VARIABLE not in os.environ
    userns.leave()


def test_somebody_else_s_directory_is_refused(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(home))
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    with pytest.raises(HostError, match="somebody else's"):
        userns.become_root()

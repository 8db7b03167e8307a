from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from tests.lab.wires import wires
from tests.support import need_root

from vipnet.errors import HostError
from vipnet.lab.namespaces import enter_command, inside


def network() -> int:
    return Path("/proc/thread-self/ns/net").stat().st_ino


def test_a_thread_goes_in_and_comes_back() -> None:
    before = network()
    with wires() as layout:
        with inside(layout.netns("a")):
            assert network() != before
        assert network() == before
        with pytest.raises(ZeroDivisionError), inside(layout.netns("a")):
            raise ZeroDivisionError
        assert network() == before


def test_no_namespace_is_said() -> None:
    need_root()
    with (
        pytest.raises(HostError, match="there is no namespace vipnet-none-a: is the lab up"),
        inside("vipnet-none-a"),
    ):
        pass


def test_files_cover_the_machine_s_own_and_only_there(tmp_path: Path) -> None:
    (tmp_path / "hosts").write_text("10.201.1.10 nobody\n")
    machine = Path("/etc/hosts").read_bytes()
    with wires() as layout:
        command = enter_command(layout.netns("a"), tmp_path, ["cat", "/etc/hosts"])
        assert subprocess.run(command, capture_output=True, text=True).stdout == "10.201.1.10 nobody\n"
    assert Path("/etc/hosts").read_bytes() == machine


def test_a_file_that_the_machine_does_not_have_is_not_made(tmp_path: Path) -> None:
    (tmp_path / "no-such-file-of-vipnet").touch()
    with wires() as layout:
        command = enter_command(layout.netns("a"), tmp_path, ["true"])
        assert subprocess.run(command, capture_output=True, text=True).returncode == 0
    assert not Path("/etc/no-such-file-of-vipnet").exists()


def test_a_machine_without_resolv_conf_is_told_so(tmp_path: Path) -> None:
    """The one file that the lab cannot do without: programs would ask nobody."""
    (tmp_path / "resolv.conf").touch()
    without_etc = ["unshare", "-m", "sh", "-c", 'mount -t tmpfs none /etc && exec "$@"', "sh"]
    with wires() as layout:
        command = [*without_etc, *enter_command(layout.netns("a"), tmp_path, ["true"])]
        done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr == (
        "vipnet lab: /etc/resolv.conf does not exist: `touch /etc/resolv.conf`, for the lab to cover it\n"
    )
    assert Path("/etc/resolv.conf").exists()


def test_modules_come_from_the_installation_not_from_where_one_stands(tmp_path: Path) -> None:
    (tmp_path / "vipnet").mkdir()
    (tmp_path / "vipnet" / "__init__.py").write_text("raise SystemExit('somebody else')")
    (tmp_path / "etc").mkdir()
    with wires() as layout:
        command = enter_command(layout.netns("a"), tmp_path / "etc", ["true"])
        assert subprocess.run(command, cwd=tmp_path, env=os.environ).returncode == 0

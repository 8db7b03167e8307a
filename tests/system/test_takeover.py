from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support import need_program, need_root

from vipnet.errors import HostError
from vipnet.system.takeover import ResolvConf

US = "127.0.0.47"
ORIGINAL = """# from the DHCP server
search example.test
nameserver 192.0.2.53
nameserver 2001:db8::53
nameserver fe80::1%eth0
options edns0 trust-ad
"""
OURS = f"""# Written by vipnet, which asks the name servers that stood here; `vipnet down` puts them back.
nameserver {US}
# from the DHCP server
search example.test
options edns0 trust-ad
"""


@pytest.fixture
def etc(tmp_path: Path) -> Path:
    (tmp_path / "resolv.conf").write_text(ORIGINAL)
    return tmp_path


def resolv_conf(etc: Path, text: str | None = None) -> ResolvConf:
    if text is not None:
        (etc / "resolv.conf").write_text(text)
    return ResolvConf(
        etc / "resolv.conf", etc / "state" / "resolv.conf", US, resolved_uplinks=etc / "uplinks.conf"
    )


def test_take_and_restore(etc: Path) -> None:
    (etc / "resolv.conf").chmod(0o640)
    conf = resolv_conf(etc)
    assert not conf.taken
    conf.take()
    assert conf.taken
    assert (etc / "resolv.conf").read_text() == OURS
    assert (etc / "resolv.conf").stat().st_mode & 0o777 == 0o640
    conf.restore()
    assert (etc / "resolv.conf").read_text() == ORIGINAL
    assert (etc / "resolv.conf").stat().st_mode & 0o777 == 0o640
    assert sorted(path.name for path in etc.rglob("*")) == ["resolv.conf", "state"]


def test_upstreams_are_those_of_the_original_before_while_and_after(etc: Path) -> None:
    conf = resolv_conf(etc)
    expected = ("192.0.2.53", "2001:db8::53", "fe80::1%eth0")
    assert conf.upstreams() == expected
    for change in (conf.take, conf.restore):
        change()
        assert conf.upstreams() == expected


def test_twice_is_once(etc: Path) -> None:
    conf = resolv_conf(etc)
    conf.take()
    conf.take()
    assert (etc / "resolv.conf").read_text() == OURS
    conf.restore()
    conf.restore()
    assert (etc / "resolv.conf").read_text() == ORIGINAL


def test_a_crashed_run_is_undone_by_the_next(etc: Path) -> None:
    resolv_conf(etc).take()
    after_crash = resolv_conf(etc)
    assert after_crash.upstreams()[0] == "192.0.2.53"
    after_crash.restore()
    assert (etc / "resolv.conf").read_text() == ORIGINAL


@given(st.integers(0, len(OURS)))
def test_a_file_that_a_crash_cut_short_is_restored(
    tmp_path_factory: pytest.TempPathFactory, cut: int
) -> None:
    etc = tmp_path_factory.mktemp("etc")
    conf = resolv_conf(etc, ORIGINAL)
    conf.take()
    conf = resolv_conf(etc, OURS[:cut])
    conf.restore()
    assert (etc / "resolv.conf").read_text() == ORIGINAL


@given(st.integers(0, len(ORIGINAL)))
def test_a_restore_that_a_crash_cut_short_is_finished(
    tmp_path_factory: pytest.TempPathFactory, cut: int
) -> None:
    etc = tmp_path_factory.mktemp("etc")
    conf = resolv_conf(etc, ORIGINAL)
    conf.take()
    conf = resolv_conf(etc, ORIGINAL[:cut])
    conf.take()
    assert (etc / "resolv.conf").read_text() == OURS
    conf.restore()
    assert (etc / "resolv.conf").read_text() == ORIGINAL


def test_a_restore_without_its_last_cut_is_finished(etc: Path) -> None:
    """In place: the shorter original is written over ours, and the rest of ours not yet cut off."""
    short = "nameserver 192.0.2.53\n"
    conf = resolv_conf(etc, short)
    conf.take()
    ours = (etc / "resolv.conf").read_text()
    conf = resolv_conf(etc, short + ours[len(short) :])
    conf.restore()
    assert (etc / "resolv.conf").read_text() == short


def test_what_somebody_else_wrote_stays(etc: Path) -> None:
    conf = resolv_conf(etc)
    conf.take()
    newer = "nameserver 198.51.100.53\n"
    conf = resolv_conf(etc, newer)
    assert not conf.taken
    assert conf.upstreams() == ("198.51.100.53",)
    conf.restore()
    assert (etc / "resolv.conf").read_text() == newer


def test_what_somebody_else_wrote_is_the_new_original(etc: Path) -> None:
    conf = resolv_conf(etc)
    conf.take()
    conf = resolv_conf(etc, "nameserver 198.51.100.53\n")
    conf.take()
    assert conf.taken
    assert conf.upstreams() == ("198.51.100.53",)
    conf.restore()
    assert (etc / "resolv.conf").read_text() == "nameserver 198.51.100.53\n"


def test_a_symbolic_link_comes_back_as_one(etc: Path) -> None:
    (etc / "stub.conf").write_text("nameserver 192.0.2.1\n")
    (etc / "resolv.conf").unlink()
    (etc / "resolv.conf").symlink_to("stub.conf")
    conf = resolv_conf(etc)
    conf.take()
    assert not (etc / "resolv.conf").is_symlink()
    assert (etc / "stub.conf").read_text() == "nameserver 192.0.2.1\n"
    assert conf.upstreams() == ("192.0.2.1",)
    conf.restore()
    assert (etc / "resolv.conf").readlink() == Path("stub.conf")


@pytest.mark.parametrize("link", [None, "nowhere.conf"])
def test_no_file_at_all(etc: Path, link: str | None) -> None:
    (etc / "resolv.conf").unlink()
    if link:
        (etc / "resolv.conf").symlink_to(link)
    conf = resolv_conf(etc)
    assert conf.upstreams() == ()
    conf.take()
    assert conf.taken
    conf.restore()
    assert (etc / "resolv.conf").is_symlink() is (link is not None)
    assert not (etc / "resolv.conf").exists()


def test_a_lost_backup_leaves_what_can_be_saved(etc: Path) -> None:
    conf = resolv_conf(etc)
    conf.take()
    (etc / "state" / "resolv.conf").unlink()
    conf.take()
    assert (etc / "resolv.conf").read_text() == OURS
    conf.restore()
    (etc / "state" / "resolv.conf").unlink(missing_ok=True)
    conf.restore()
    assert (etc / "resolv.conf").read_text() == "".join(OURS.splitlines(keepends=True)[2:])


def test_resolved_is_asked_behind_its_stub(etc: Path) -> None:
    conf = resolv_conf(etc, "nameserver 127.0.0.53\noptions edns0\n")
    assert conf.upstreams() == ("127.0.0.53",)
    (etc / "uplinks.conf").write_text(f"nameserver 192.0.2.7\nnameserver {US}\n")
    conf.take()
    assert conf.upstreams() == ("192.0.2.7",)


def test_we_are_never_our_own_upstream(etc: Path) -> None:
    assert resolv_conf(etc, f"nameserver {US}\nnameserver 192.0.2.1\n").upstreams() == ("192.0.2.1",)


@given(st.binary(max_size=200))
def test_any_bytes_come_back(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    etc = tmp_path_factory.mktemp("etc")
    (etc / "resolv.conf").write_bytes(content)
    conf = resolv_conf(etc)
    conf.take()
    conf.upstreams()
    assert conf.taken
    conf.restore()
    assert (etc / "resolv.conf").read_bytes() == content


def test_a_spoilt_backup_says_what_to_do(etc: Path) -> None:
    conf = resolv_conf(etc)
    conf.take()
    (etc / "state" / "resolv.conf").write_text("{")
    with pytest.raises(HostError, match=r"write your name servers to .*resolv\.conf and remove"):
        conf.restore()


def test_a_directory_that_cannot_be_written_says_what_to_do(etc: Path) -> None:
    conf = ResolvConf(etc / "resolv.conf", Path("/proc/vipnet/resolv.conf"), US)
    with pytest.raises(HostError, match=r'/proc/vipnet.*hook = "none"'):
        conf.take()
    assert (etc / "resolv.conf").read_text() == ORIGINAL


_IN_A_MOUNT_NAMESPACE = """
import subprocess, sys
from pathlib import Path
from vipnet.system.takeover import ResolvConf

etc = Path(sys.argv[1])
subprocess.run(["mount", "--bind", etc / "source.conf", etc / "resolv.conf"], check=True)
inode = (etc / "resolv.conf").stat().st_ino
conf = ResolvConf(etc / "resolv.conf", etc / "state" / "resolv.conf", "127.0.0.47")
conf.take()
assert conf.taken and conf.upstreams()[0] == "192.0.2.53"
assert (etc / "source.conf").read_text() == (etc / "resolv.conf").read_text()
print((etc / "resolv.conf").read_text(), end="")
conf.restore()
assert (etc / "resolv.conf").stat().st_ino == inode
"""


def test_a_mount_point_is_written_in_place(etc: Path) -> None:
    """As in containers, and in `ip netns exec` with /etc/netns."""
    need_root()
    need_program("unshare", "mount")
    (etc / "source.conf").write_text(ORIGINAL)
    (etc / "resolv.conf").write_text("covered\n")
    result = subprocess.run(
        ["unshare", "-m", "--propagation", "private", sys.executable, "-c", _IN_A_MOUNT_NAMESPACE, str(etc)],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": "src"},
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout == OURS
    assert (etc / "source.conf").read_text() == ORIGINAL
    assert (etc / "resolv.conf").read_text() == "covered\n"
    assert not list(etc.rglob(".*"))


_AGAIN_AND_AGAIN = """
import subprocess, sys
from pathlib import Path
from vipnet.system.takeover import ResolvConf

etc, name = Path(sys.argv[1]), sys.argv[2]
subprocess.run(["mount", "--bind", etc / f"{name}.conf", etc / "resolv.conf"], check=True)
conf = ResolvConf(etc / "resolv.conf", etc / name / "resolv.conf", "127.0.0.47")
for _ in range(50):
    conf.take()
    conf.restore()
"""


def test_hosts_that_share_all_of_etc_but_the_file_do_not_meet(etc: Path) -> None:
    need_root()
    need_program("unshare", "mount")
    originals = {name: f"nameserver 192.0.2.{number}\n" for number, name in enumerate(("a", "b"), 1)}
    hosts = []
    for name, text in originals.items():
        (etc / f"{name}.conf").write_text(text)
        command = [sys.executable, "-c", _AGAIN_AND_AGAIN, str(etc), name]
        hosts.append(
            subprocess.Popen(
                ["unshare", "-m", "--propagation", "private", *command],
                stderr=subprocess.PIPE,
                text=True,
                env={**os.environ, "PYTHONPATH": "src"},
            )
        )
    errors = [host.communicate(timeout=60)[1] for host in hosts]
    assert errors == ["", ""]
    assert {name: (etc / f"{name}.conf").read_text() for name in originals} == originals
    assert not list(etc.rglob(".*"))


_WITHOUT_THE_DIRECTORY = """
import os, sys
from pathlib import Path
from vipnet.system.takeover import ResolvConf

etc = Path(sys.argv[1])
os.setgroups([]), os.setgid(65534), os.setuid(65534)
conf = ResolvConf(etc / "resolv.conf", etc / "state" / "resolv.conf", "127.0.0.47")
conf.take()
print((etc / "resolv.conf").read_text(), end="")
conf.restore()
"""


def test_a_file_of_ours_in_a_directory_of_others_is_written_in_place() -> None:
    """As in the lab of an ordinary user: /etc belongs to root, the file mounted there to us."""
    need_root()
    with tempfile.TemporaryDirectory(prefix="vipnet-test-") as directory:
        etc = Path(directory)
        etc.chmod(0o755)
        (etc / "resolv.conf").write_text(ORIGINAL)
        (etc / "state").mkdir()
        for path in (etc / "resolv.conf", etc / "state"):
            os.chown(path, 65534, 65534)
        result = subprocess.run(
            [sys.executable, "-c", _WITHOUT_THE_DIRECTORY, directory],
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert result.returncode == 0, result.stderr
        assert result.stdout == OURS
        assert (etc / "resolv.conf").read_text() == ORIGINAL

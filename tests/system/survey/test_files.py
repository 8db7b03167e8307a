from __future__ import annotations

from pathlib import Path

from vipnet.system.survey import files


def test_files(tmp_path: Path) -> None:
    secret = tmp_path / "key"
    secret.write_text("x")
    secret.chmod(0o640)
    found = files.file(secret, "key_file")
    assert (found.path, found.label, found.mode, found.problem) == (str(secret), "key_file", 0o640, None)
    assert files.file(tmp_path / "none", "x").problem == "No such file or directory"
    assert files.file(secret / "below", "x").problem == "Not a directory"


def test_directories(tmp_path: Path) -> None:
    found = files.directory(tmp_path, "state_dir")
    assert (found.exists, found.problem) == (True, None)
    assert found.free is not None
    assert found.free > 0
    to_come = files.directory(tmp_path / "one" / "two", "state_dir")
    assert (to_come.exists, to_come.problem) == (False, None)
    assert list(tmp_path.iterdir()) == [], "nothing is left behind"
    assert files.directory(Path("/proc/self"), "x").problem is not None
    in_the_way = tmp_path / "file"
    in_the_way.write_text("")
    assert files.directory(in_the_way / "below", "x").problem is not None

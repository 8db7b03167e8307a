"""Wheel and sdist, as `./run dist` builds them, in a clean virtual environment."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

from vipnet import __version__

REPOSITORY = Path(__file__).parents[2]
pytestmark = pytest.mark.stack


def pip(*arguments: str | Path) -> None:
    subprocess.run((sys.executable, "-m", "pip", "--quiet", *arguments), check=True, timeout=300, cwd="/")


def test_the_sdist_builds_a_wheel_that_runs(tmp_path: Path) -> None:
    build = tmp_path / "build"
    venv.create(build, with_pip=False)
    pip("--python", build / "bin/python", "install", "build", "pip")
    made = subprocess.run(
        (build / "bin/python", "-m", "build", "--outdir", tmp_path, REPOSITORY),
        capture_output=True,
        text=True,
    )
    assert made.returncode == 0, made.stderr
    (sdist,), (wheel,) = tmp_path.glob("*.tar.gz"), tmp_path.glob("*.whl")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"run", "install/deb.py", "install/systemd/vipnet.service", "docs/install.md", "LICENSE"} <= names
    with zipfile.ZipFile(wheel) as archive:
        tops = {name.partition("/")[0] for name in archive.namelist()}
    assert tops == {"vipnet", f"vipnet-{__version__}.dist-info"}

    clean = tmp_path / "clean"
    venv.create(clean, with_pip=False)
    pip("--python", clean / "bin/python", "install", wheel)
    for command in (["--version"], ["init", "--help"], ["doctor", "--help"], ["demo", "--help"]):
        ran = subprocess.run((clean / "bin/vipnet", *command), capture_output=True, text=True, cwd="/")
        assert ran.returncode == 0, ran.stderr

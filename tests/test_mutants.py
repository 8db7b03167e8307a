"""Planted faults, which the simulator's tests have to find; one that they do not is a hole in them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support import need_program

ROOT = Path(__file__).parents[1]
PATCHES = sorted((ROOT / "tests" / "mutants").glob("*.patch"))
JUDGES = ("tests/sim/test_eve.py", "tests/sim/test_search.py", "tests/sim/test_properties.py")

pytestmark = pytest.mark.long


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The sources and tests, to be changed."""
    for folder in ("src", "tests"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def judge(copy: Path) -> subprocess.CompletedProcess[str]:
    """What the simulator's tests say to COPY, up to the first failure."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "--tb=short"]
    environment = os.environ | {"PYTHONPATH": f"{copy / 'src'}:{copy}"}
    return subprocess.run(
        [*command, "-m", "not long and not stack", *JUDGES],
        cwd=copy,
        env=environment,
        capture_output=True,
        text=True,
        timeout=1200,
    )


def plant(patch: Path, copy: Path) -> None:
    planted = subprocess.run(
        ["patch", "-p1", "--forward", "--fuzz=0", "-i", str(patch)], cwd=copy, capture_output=True, text=True
    )
    assert planted.returncode == 0, (
        f"{patch.name} does not apply any more: make the change that its first line tells of in src/, keep "
        f"that line and write `git diff -U1` behind it\n{planted.stdout}"
    )


def test_there_are_enough() -> None:
    assert len(PATCHES) >= 5


def test_the_copy_passes_as_it_is(copy: Path) -> None:
    verdict = judge(copy)
    assert verdict.returncode == 0, verdict.stdout


@pytest.mark.parametrize("patch", PATCHES, ids=lambda patch: patch.stem)
def test_a_planted_fault_is_found(patch: Path, copy: Path) -> None:
    need_program("patch")
    plant(patch, copy)
    verdict = judge(copy)
    assert verdict.returncode == 1, f"nobody notices: {patch.read_text()}\n{verdict.stdout}"
    found = [line for line in verdict.stdout.splitlines() if line.startswith("E ")]
    # By a property, not because the patched source cannot run.
    assert any("AssertionError" in line or "ViolationError" in line or "assert " in line for line in found), (
        verdict.stdout
    )
    print(f"{patch.stem}: {found[0]}")

"""The Debian package, built once for all tests that install it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from tests.support import need_program

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `./run deb` builds."""
    need_program("dpkg-deb")
    into = tmp_path_factory.mktemp("deb")
    command = (sys.executable, str(REPOSITORY / "install/deb.py"), str(into))
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, timeout=300)
    (built,) = into.iterdir()
    assert done.stdout.splitlines()[-1] == str(built)
    return built

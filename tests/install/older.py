"""Vipnet as it was some time ago, in a package as packages are made now."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

from tests.install.workshop import REPOSITORY
from tests.support import need

FIRST_SCHEMA: Final = "6e19969"  # the last commit whose store has schema 1
_VERSION: Final = "0.0.1"


def older_package(commit: str, directory: Path) -> Path:
    """Build COMMIT, with the libraries that it wanted, as version 0.0.1; packages were not made then."""
    git = ("git", "-C", str(REPOSITORY))
    known = subprocess.run((*git, "cat-file", "-e", f"{commit}^{{commit}}"), capture_output=True)
    need(known.returncode == 0, f"the commit {commit} of this repository (a shallow clone lacks it)")
    source, into = directory / "source", directory / "older"
    source.mkdir()
    packed = subprocess.run((*git, "archive", commit), stdout=subprocess.PIPE, check=True).stdout
    subprocess.run(("tar", "-C", source, "-x"), input=packed, check=True)
    shutil.copytree(REPOSITORY / "install", source / "install")
    shutil.copy(REPOSITORY / "docs/install.md", source / "docs")
    init = source / "src/vipnet/__init__.py"
    text, replaced = re.subn(r'(?<=__version__ = ")[^"]*', _VERSION, init.read_text())
    assert replaced == 1
    init.write_text(text)
    subprocess.run(
        (sys.executable, source / "install/deb.py", into),
        env=os.environ | {"PYTHONPATH": str(source / "src")},
        stdout=subprocess.PIPE,
        check=True,
        timeout=300,
    )
    (built,) = into.iterdir()
    assert _VERSION in built.name
    return built

"""Vipnet as it was some time ago, in a package as packages are made now.

`older.tar.xz` has the sources of commit 6e19969, the last one whose store has schema 1; a checkout
may lack its history.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

from tests.install.workshop import REPOSITORY

_SOURCES: Final = Path(__file__).with_name("older.tar.xz")
_VERSION: Final = "0.0.1"


def older_package(directory: Path) -> Path:
    """Build it, with the libraries that it wanted, as version 0.0.1; packages were not made then."""
    source, into = directory / "source", directory / "older"
    source.mkdir()
    subprocess.run(("tar", "-C", source, "-xJf", _SOURCES), check=True)
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

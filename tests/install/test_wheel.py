"""Wheel and sdist, by the commands of docs/install.md on a clean machine."""

from __future__ import annotations

import tarfile
import zipfile

import pytest
from tests.install.readme import INSTALLING, block
from tests.install.workshop import Workshop

from vipnet import __version__

pytestmark = pytest.mark.stack


def test_pipx_installs_the_wheel(workshop: Workshop) -> None:
    workshop.run(f"cd vipnet; {block('./run dist', INSTALLING)}")
    dist = workshop.upper / "root/vipnet/dist"
    (sdist,), (wheel,) = dist.glob("*.tar.gz"), dist.glob("*.whl")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"run", "install/deb.py", "install/systemd/vipnet.service", "docs/install.md", "LICENSE"} <= names
    with zipfile.ZipFile(wheel) as archive:
        tops = {name.partition("/")[0] for name in archive.namelist()}
    assert tops == {"vipnet", f"vipnet-{__version__}.dist-info"}

    assert workshop.run("cd /; sudo vipnet --version").split()[-1] == __version__
    for command in ("init", "doctor", "demo", "up"):
        assert f"Usage: vipnet {command}" in workshop.run(f"cd /; sudo vipnet {command} --help")
    workshop.run("sudo vipnet init laptop.example.org --offline --config /root/etc/config.toml")
    assert workshop.run("sudo vipnet key show --config /root/etc/config.toml")

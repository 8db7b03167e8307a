"""What is made once for all tests of this folder: it takes long."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.install.readme import CLONE, TWO_DEVICES, block
from tests.install.workshop import Workshop


@pytest.fixture(scope="session")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    """A clean Debian with git, and this checkout cloned as README says."""
    made = Workshop(tmp_path_factory.mktemp("workshop"))
    made.put_checkout("/srv/repository")
    made.run("apt-get -q update; apt-get -q install git")
    made.run(CLONE.replace("REPOSITORY", "/srv/repository"))
    return made


@pytest.fixture(scope="session")
def package(workshop: Workshop) -> Path:
    """The package that README's command builds on a clean machine."""
    command, and_then, _ = block(TWO_DEVICES).partition(" && ")
    assert and_then
    said = workshop.run(f"cd vipnet; {command}")
    (built,) = (workshop.upper / "root/vipnet/dist").glob("*.deb")
    assert said.splitlines()[-1] == f"/root/vipnet/dist/{built.name}"
    return built

"""What is installed beside the program: unit, network settings, manual, completions, the image's file."""

from __future__ import annotations

import configparser
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support import need_program

from vipnet.app.config import DEFAULT_PATH, Tun
from vipnet.cli.main import SECTIONS

REPOSITORY = Path(__file__).parents[2]
INSTALL = REPOSITORY / "install"
UNIT = INSTALL / "systemd/vipnet.service"
EXPOSURE_MAX = 2.5  # of 10


def done(*command: str | Path, **environment: str) -> str:
    made = subprocess.run(command, capture_output=True, text=True, env=os.environ | environment, timeout=60)
    assert made.returncode == 0, made.stderr
    return made.stdout


# --- systemd and NetworkManager


def test_the_unit_may_do_little() -> None:
    need_program("systemd-analyze")
    checks = json.loads(done("systemd-analyze", "security", "--offline=true", "--json=short", UNIT))
    weights = [(one["name"], one["exposure"]) for one in checks if one["exposure"]]
    summary = done("systemd-analyze", "security", "--offline=true", "--no-pager", UNIT)
    (overall,) = re.findall(r"Overall exposure level for vipnet.service: ([\d.]+)", summary)
    assert float(overall) <= EXPOSURE_MAX, weights


def test_the_unit_is_understood_by_systemd(tmp_path: Path) -> None:
    need_program("systemd-analyze")
    # What it names is not installed here.
    text = UNIT.read_text().replace("/usr/bin/vipnet", sys.executable).replace("man:vipnet(1)", "man:sh(1)")
    (tmp_path / "vipnet.service").write_text(text)
    made = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", tmp_path / "vipnet.service"], capture_output=True, text=True
    )
    assert (made.returncode, made.stderr) == (0, "")
    assert f"ConditionPathExists={DEFAULT_PATH}\n" in text
    # It waits for the answer, and fails when the configuration is refused: `kill -HUP` would not.
    assert f"ExecReload={sys.executable} reload\n" in text


@pytest.mark.parametrize(
    ("file", "section", "key", "value"),
    [
        ("systemd/10-vipnet.network", "Match", "Name", Tun().interface),
        ("systemd/10-vipnet.network", "Link", "Unmanaged", "yes"),
        (
            "NetworkManager/10-vipnet.conf",
            "keyfile",
            "unmanaged-devices+",
            f"interface-name:{Tun().interface}",
        ),
    ],
)
def test_others_leave_the_interface_alone(file: str, section: str, key: str, value: str) -> None:
    parser = configparser.ConfigParser()
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string((INSTALL / file).read_text())
    assert parser[section][key] == value


# --- manual


@pytest.fixture(scope="module")
def manual(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Pages by file name."""
    into = tmp_path_factory.mktemp("man")
    done(sys.executable, INSTALL / "manual.py", into)
    return {page.name: page.read_text() for page in into.iterdir()}


def test_every_command_has_a_page_with_its_example(manual: dict[str, str]) -> None:
    commands = [entry.name for entries in SECTIONS.values() for entry in entries]
    assert {"vipnet.1", *(f"vipnet-{name}.1" for name in commands)} <= set(manual)
    assert "vipnet-trust-accept-new-key.1" in manual
    for name, page in manual.items():
        assert page.startswith(f'.TH {name.removesuffix(".1").upper()} 1 "" "vipnet '), name
        assert "\n.SH EXAMPLE" in page or "\n.SH COMMANDS" in page, name
        for command in re.findall(r"^\.B (vipnet-[a-z\\-]+)\(1\)$", page, re.MULTILINE):
            assert command.replace("\\", "") + ".1" in manual, name


def test_a_page_says_what_help_says(manual: dict[str, str]) -> None:
    text = done(sys.executable, "-m", "vipnet", "resolve", "--help")
    page = manual["vipnet-resolve.1"].replace("\\-", "-")
    for option in re.findall(r"^  (--?[a-z-]+)", text, re.MULTILINE):
        assert f".B {option}" in page
    assert "Print one JSON object." in page


@pytest.mark.stack
def test_pages_are_good_troff(manual: dict[str, str], tmp_path: Path) -> None:
    need_program("mandoc")
    for name, page in manual.items():
        (tmp_path / name).write_text(page)
        assert done("mandoc", "-T", "lint", "-W", "error", tmp_path / name) == ""


# --- completions


def script(shell: str) -> str:
    return done(sys.executable, "-m", "vipnet", _VIPNET_COMPLETE=f"{shell}_source")


def test_bash_completes_a_command(tmp_path: Path) -> None:
    """The script in a real bash, with `vipnet` in PATH."""
    program = tmp_path / "vipnet"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m vipnet "$@"\n')
    program.chmod(0o755)
    asked = "COMP_WORDS=(vipnet trust acc) COMP_CWORD=2; _vipnet_completion vipnet; echo ${COMPREPLY[@]}"
    path = f"{tmp_path}:{os.environ['PATH']}"
    assert done("bash", "-c", script("bash") + "\n" + asked, PATH=path) == "accept-new-key\n"


@pytest.mark.stack
@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_the_other_shells_take_their_scripts(shell: str, tmp_path: Path) -> None:
    need_program(shell)
    (tmp_path / "script").write_text(script(shell))
    done(shell, "-n", tmp_path / "script")


# --- the container image


def test_the_image_copies_what_is_there_and_runs_what_there_is() -> None:
    lines = (REPOSITORY / "examples/container/Dockerfile").read_text().splitlines()
    for line in lines:
        word, _, rest = line.partition(" ")
        if word == "RUN":
            subprocess.run(["sh", "-n"], input=rest, text=True, check=True)
        assert word in ("", "#", "FROM", "RUN", "COPY", "VOLUME", "EXPOSE", "ENTRYPOINT", "CMD"), line
    assert json.loads(lines[-2].partition(" ")[2]) + json.loads(lines[-1].partition(" ")[2]) == [
        "vipnet",
        "run",
    ]

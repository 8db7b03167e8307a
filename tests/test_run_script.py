"""./run and .ci/run: their syntax, and what they do on machines that lack something.

The machine is faked by a PATH that holds only what the test puts there.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BASE_TOOLS = ("sh", "cat", "cksum", "dirname", "id", "mktemp", "rm", "tr", "chmod", "mkdir", "ln", "true")


class Machine:
    """A checkout of ./run and pyproject.toml alone, and a PATH of its own."""

    def __init__(self, directory: Path) -> None:
        self.checkout = directory / "check out"  # a space: quoting is tested on the way
        self.bin = directory / "bin"
        self.calls = directory / "calls"
        self.checkout.mkdir()
        self.bin.mkdir()
        for name in ("run", "pyproject.toml"):
            shutil.copy(ROOT / name, self.checkout / name)
        for tool in BASE_TOOLS:
            found = shutil.which(tool)
            assert found, tool
            (self.bin / tool).symlink_to(found)
        self.fake("id", "echo 1000")
        self.fake("sudo", "exit 1")
        self.has("gcc", "libc6-dev", "iproute2")

    def fake(self, program: str, script: str) -> None:
        path = self.bin / program
        path.unlink(missing_ok=True)
        path.write_text(f'#!/bin/sh\necho "{program} $*" >>"{self.calls}"\n{script}\n')
        path.chmod(0o755)

    def has(self, *packages: str) -> None:
        """These Debian packages are installed, and no others."""
        cases = "".join(f'*" {package}") printf installed ;;\n' for package in packages)
        self.fake("dpkg-query", f'case "$*" in\n{cases}*) exit 1 ;;\nesac')

    def has_python(self, *, version: str = "3.11.2") -> None:
        """A python3 whose venvs are shells that log what they are asked to run."""
        major, minor, _ = version.split(".")
        answer = f"""
case "$*" in
--version) echo Python {version} ;;
*version_info*) case "$2" in *"< (3, 11)"*) [ {major}{int(minor):02} -ge 311 ] ;; *) exit 9 ;; esac ;;
"-m venv "*) mkdir -p "$3/bin"; ln -s "{self.bin}/python3" "$3/bin/python" ;;
*) cat >/dev/null ;;
esac
"""
        self.fake("python3", answer)

    def run(self, *args: str) -> subprocess.CompletedProcess[str]:
        # /usr/bin/python3 and such are found by their full names: not on this machine.
        script = self.checkout / "run"
        script.write_text(script.read_text().replace("/usr/bin/python3 ", "").replace(":/usr/sbin:/sbin", ""))
        return subprocess.run(
            [script, *args], env={"PATH": str(self.bin)}, cwd="/", capture_output=True, text=True, timeout=60
        )

    def called(self) -> list[str]:
        return self.calls.read_text().splitlines() if self.calls.exists() else []


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


@pytest.mark.parametrize("script", ["run", *(str(p.relative_to(ROOT)) for p in ROOT.glob("examples/*.sh"))])
def test_posix_syntax(script: str) -> None:
    assert (ROOT / script).read_text().startswith("#!/bin/sh\n")
    subprocess.run(["sh", "-n", ROOT / script], check=True)
    assert os.access(ROOT / script, os.X_OK)


def test_bash_syntax() -> None:
    assert (ROOT / ".ci/run").read_text().startswith("#!/bin/bash\n")
    subprocess.run(["bash", "-n", ROOT / ".ci/run"], check=True)
    assert os.access(ROOT / ".ci/run", os.X_OK)


def test_usage_names_what_there_is(machine: Machine) -> None:
    done = machine.run("help")
    assert (done.returncode, done.stderr) == (0, "")
    for verb in ("setup", "demo", "test", "test-stack", "lint"):
        assert f"\n  {verb} " in done.stdout
    assert "figures" not in done.stdout
    (machine.checkout / "bench").mkdir()
    (machine.checkout / "bench/figures.py").write_text("")
    assert "\n  figures " in machine.run("help").stdout
    assert max(map(len, done.stdout.splitlines())) <= 80


@pytest.mark.parametrize("args", [(), ("dance",)])
def test_an_unknown_verb_is_wrong_usage(machine: Machine, args: tuple[str, ...]) -> None:
    done = machine.run(*args)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("usage: ./run VERB")


def test_what_is_missing_is_one_line_to_paste(machine: Machine) -> None:
    done = machine.run("setup")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        "sudo apt-get install --no-install-recommends python3 python3-venv python3-dev"
    )
    assert not any(call.startswith("apt-get") for call in machine.called())


def test_tests_need_real_servers(machine: Machine) -> None:
    machine.has_python()
    line = machine.run("setup", "test").stderr.splitlines()[-1]
    assert {"bind9", "openssh-server", "ffmpeg", "tcpdump", "inetutils-telnetd"} <= set(line.split())
    assert "python3-venv" not in line  # this python3 is not Debian's


def test_root_installs_and_leaves_no_policy_behind(machine: Machine) -> None:
    machine.fake("id", "echo 0")
    machine.fake("apt-get", 'case "$*" in *install*) echo "noise"; echo "$DEBIAN_FRONTEND" >&2 ;; esac')
    # The script that runs as root writes /usr/sbin/policy-rc.d: here it only shows what it would do.
    shell = shutil.which("sh")
    machine.fake("sh", f'[ "$1" != -c ] || {{ shift 2; apt-get install "$@"; exit; }}\nexec {shell} "$@"')
    machine.has("gcc")
    machine.has_python()
    done = machine.run("setup")
    assert done.returncode == 0, done.stderr
    assert "apt-get install install libc6-dev iproute2" in machine.called()
    assert "noise" not in done.stdout + done.stderr


def test_sudo_is_used_where_it_asks_nothing(machine: Machine) -> None:
    machine.fake("sudo", "exit 0")
    machine.has("gcc", "iproute2")
    machine.has_python()
    done = machine.run("setup")
    assert done.returncode == 0, done.stderr
    calls = "\n".join(machine.called())
    assert calls.count("sudo -n sh -c") == 1
    assert "DEBIAN_FRONTEND=noninteractive" in calls
    assert "install --no-install-recommends" in calls


def test_the_environment_is_made_once(machine: Machine) -> None:
    machine.has_python()
    first = machine.run("setup")
    assert first.returncode == 0, first.stderr
    assert first.stderr.splitlines()[-1] == "run: ready"
    assert sum("-m venv" in call for call in machine.called()) == 1
    assert sum("pip install" in call for call in machine.called()) == 1
    again = machine.run("setup")
    assert again.stderr == "run: ready\n"
    assert sum("pip install" in call for call in machine.called()) == 1


def test_a_changed_project_is_installed_again(machine: Machine) -> None:
    machine.has_python()
    machine.run("setup")
    with (machine.checkout / "pyproject.toml").open("a") as file:
        file.write("# changed\n")
    machine.run("setup")
    assert sum("-m venv" in call for call in machine.called()) == 1
    assert sum("pip install" in call for call in machine.called()) == 2


@pytest.mark.parametrize("harm", ["no python", "moved", "empty"])
def test_a_broken_environment_is_made_again(machine: Machine, harm: str) -> None:
    machine.has_python()
    machine.run("setup")
    venv = machine.checkout / ".venv"
    if harm == "no python":
        (venv / "bin/python").unlink()
    elif harm == "moved":
        (venv / ".vipnet-root").write_text("/somewhere/else\n")
    else:
        shutil.rmtree(venv)
        venv.mkdir()
    done = machine.run("setup")
    assert done.returncode == 0, done.stderr
    assert sum("-m venv" in call for call in machine.called()) == 2
    assert sum("pip install" in call for call in machine.called()) == 2


def test_an_old_python_is_not_taken(machine: Machine) -> None:
    machine.has_python(version="3.9.2")
    machine.has("gcc", "libc6-dev", "iproute2", "python3", "python3-venv", "python3-dev")
    done = machine.run("setup")
    assert done.returncode == 1
    assert done.stderr == "run: no Python 3.11 or later here: Debian 12 and later have one\n"


def test_a_failing_step_shows_what_it_said(machine: Machine) -> None:
    machine.has_python()
    script = (
        (machine.bin / "python3")
        .read_text()
        .replace("*) cat", '"-m pip"*) echo no network; exit 1 ;;\n*) cat')
    )
    (machine.bin / "python3").write_text(script)
    done = machine.run("setup")
    assert done.returncode == 1
    assert "no network" in done.stderr
    assert "run: failed" in done.stderr.splitlines()[-1]
    # Not taken for done the next time.
    assert machine.run("setup").returncode == 1


@pytest.mark.parametrize(
    ("args", "command"),
    [
        (("demo", "--runs", "5"), "-m vipnet demo --runs 5"),
        (("test", "-k", "a or b"), "-m pytest -m not long and not stack -k a or b"),
        (("test", "-m", "long"), "-m pytest -m not long and not stack -m long"),
        (("test-stack",), "-m pytest -m stack"),
    ],
)
def test_arguments_reach_the_program(machine: Machine, args: tuple[str, ...], command: str) -> None:
    machine.has_python()
    packages = machine.run("setup", "test-stack").stderr.splitlines()[-1].split()
    machine.has("gcc", "libc6-dev", "iproute2", *packages)
    done = machine.run(*args)
    assert done.returncode == 0, done.stderr
    assert machine.called()[-1] == f"python3 {command}"


@pytest.mark.parametrize(
    ("args", "command"),
    [
        (("figures", "--quick"), "bench/figures.py --quick"),
        (("bench",), "bench/run.py"),
        (("bench", "--json", "x"), "bench/run.py --json x"),
        (("bench", "moves", "--runs", "2"), "bench/moves.py --runs 2"),
    ],
)
def test_benchmarks_are_scripts(machine: Machine, args: tuple[str, ...], command: str) -> None:
    machine.has_python()
    packages = machine.run("setup", "bench").stderr.splitlines()[-1].split()
    machine.has("gcc", "libc6-dev", "iproute2", *packages)
    assert machine.run(*args).stderr == f"run: there is no {command.split(maxsplit=1)[0]} yet\n"
    script = machine.checkout / command.split(maxsplit=1)[0]
    script.parent.mkdir()
    script.write_text("")
    done = machine.run(*args)
    assert done.returncode == 0, done.stderr
    assert machine.called()[-1] == f"python3 {machine.checkout}/{command}"


def test_the_last_marker_expression_counts(tmp_path: Path) -> None:
    """What `./run test -m long` builds upon."""
    (tmp_path / "test_x.py").write_text(
        "import pytest\n@pytest.mark.long\ndef test_long(): pass\ndef test_short(): pass\n"
    )
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = long\n    stack\n")
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-m", "not long and not stack"]
    done = subprocess.run([*command, "-m", "long", "-v"], cwd=tmp_path, capture_output=True, text=True)
    assert "test_long PASSED" in done.stdout
    assert "test_short" not in done.stdout

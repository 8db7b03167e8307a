"""The table of commands, help, and how failures read."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import click
import pytest
from tests.cli.support import vipnet

import vipnet.cli.main as cli_main
from vipnet import __version__
from vipnet.cli.main import SECTIONS, cli
from vipnet.errors import ConfigError, HostError, NotReadyError, NotRunningError

ROOT = Path(__file__).parents[2]


def commands(
    group: click.Group = cli, prefix: tuple[str, ...] = ()
) -> list[tuple[tuple[str, ...], click.Command]]:
    """Every command there is, those of subgroups too."""
    found = []
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None, name
        found.append(((*prefix, name), command))
        if isinstance(command, click.Group):
            found += commands(command, (*prefix, name))
    return found


ALL = commands()


def test_help_is_one_screen() -> None:
    for args in ((), ("--help",), ("-h",)):
        done = vipnet(*args)
        assert (done.status, done.err) == (0, "")
        lines = done.out.splitlines()
        assert len(lines) < 24  # a terminal that nobody has made larger, and its prompt
        assert max(map(len, lines)) <= 80
        listed = [line[7:].split()[0] for line in lines if line[7:8].isalpha() and line[5:7] == "  "]
        assert listed == [entry.name for section in SECTIONS.values() for entry in section]


def test_help_is_in_the_order_a_person_needs() -> None:
    """First see it, then set it up, then look at it; what few need comes last."""
    order = ("demo", "init", "up", "status", "resolve", "doctor", "metrics", "run", "lab")
    text = vipnet("--help").out
    places = [text.index(f"  {name} ") for name in order]
    assert places == sorted(places)


def test_help_imports_no_part_of_the_daemon() -> None:
    program = "import sys; from vipnet.cli.main import main\ntry: main(['--help'])\nexcept SystemExit: pass\n"
    program += (
        "print(sorted(m for m in sys.modules if m.split('.')[0] in ('trio', 'cryptography', 'pyroute2')))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize(("path", "command"), ALL, ids=[" ".join(path) for path, _ in ALL])
def test_every_command_says_what_it_does(path: tuple[str, ...], command: click.Command) -> None:
    done = vipnet(*path, "--help")
    assert (done.status, done.err) == (0, "")
    assert max(map(len, done.out.splitlines())) <= 80
    if not isinstance(command, click.Group):
        assert f"vipnet {' '.join(path)}" in done.out.partition("Example")[2]


# The lab has no configuration of its own: its hosts have.
@pytest.mark.parametrize(
    ("path", "command"),
    [(path, command) for path, command in ALL if path[0] not in ("lab", "demo", "dissect")],
    ids=[" ".join(path) for path, _ in ALL if path[0] not in ("lab", "demo", "dissect")],
)
def test_every_command_takes_a_configuration(path: tuple[str, ...], command: click.Command) -> None:
    if isinstance(command, click.Group):
        return
    (option,) = [p for p in command.params if p.name == "config_path"]
    assert option.envvar == "VIPNET_CONFIG"
    assert option.default == "/etc/vipnet/config.toml"


def test_the_table_leads_to_commands_of_that_name() -> None:
    there = {path[0]: command for path, command in ALL if len(path) == 1}
    entries = [entry for section in SECTIONS.values() for entry in section]
    assert {entry.name for entry in entries} >= there.keys() >= {"init", "up", "down", "status", "run"}
    assert all(command.name == name for name, command in there.items())


def test_version() -> None:
    assert vipnet("--version") == (0, f"vipnet {__version__}\n", "")
    done = subprocess.run(
        [sys.executable, "-m", "vipnet", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout == f"vipnet {__version__}\n"


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["dance"], "No such command 'dance'"),
        (["status", "--loud"], "--loud"),
        (["resolve"], "Missing argument 'NAME|TOKEN'"),
        (["ping", "b.vipip.net", "--count", "0"], "--count"),
        (["key"], "Missing command"),
    ],
)
def test_wrong_usage_is_one_line_and_2(args: list[str], words: str) -> None:
    done = vipnet(*args)
    assert (done.status, done.out) == (2, "")
    assert done.err.startswith("vipnet: ")
    assert words in done.err
    assert done.err.count("\n") == 1
    assert "--help`" in done.err


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (ConfigError("wrong"), 2),
        (NotReadyError("wrong"), 3),
        (NotRunningError("wrong"), 4),
        (HostError("wrong"), 1),
        (HostError("wr\nong"), 1),
        (ExceptionGroup("", [ExceptionGroup("", [ConfigError("wrong"), HostError("too")])]), 2),
    ],
)
def test_failures_are_one_line_and_a_status(
    error: Exception, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cli_main.cli, "invoke", raise_(error))
    done = vipnet("status")
    assert done in ((status, "", "vipnet: wrong\n"), (status, "", "vipnet: wr ong\n"))


def raise_(error: BaseException) -> Callable[[click.Context], None]:
    def invoke(_context: click.Context) -> None:
        raise error

    return invoke


def test_a_fault_of_ours_shows_all_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli_main.cli, "invoke", raise_(ZeroDivisionError()))
    with pytest.raises(ZeroDivisionError):
        vipnet("status")
    monkeypatch.setattr(
        cli_main.cli, "invoke", raise_(ExceptionGroup("", [HostError("x"), ZeroDivisionError()]))
    )
    with pytest.raises(ExceptionGroup):
        vipnet("status")


def test_ctrl_c_is_no_failure_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli_main.cli, "invoke", raise_(KeyboardInterrupt()))
    done = vipnet("status")
    assert done.status == 130
    assert "Traceback" not in done.err


def test_a_reader_that_has_enough_is_no_failure_of_ours() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-m", "vipnet", "--help"],
        stdout=writing,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (1, "")

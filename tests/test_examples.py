"""What is in examples/ works as it stands."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support import need_program

EXAMPLES = Path(__file__).parents[1] / "examples"
CHAT = EXAMPLES / "moving_chat.py"


def test_bind_takes_zone_and_configuration(tmp_path: Path) -> None:
    need_program("named-checkconf", "named-checkzone", "tsig-keygen")
    text = (EXAMPLES / "own-zone/named.conf").read_text()
    (zone,) = re.findall(r'file "(.*)"', text)
    text = text.replace(zone, str(EXAMPLES / "own-zone/example.org.zone"))
    for host in ("laptop", "server"):
        made = subprocess.run(
            ["tsig-keygen", "-a", "hmac-sha256", f"{host}.example.org"],
            capture_output=True,
            text=True,
            check=True,
        )
        (tmp_path / f"{host}.key").write_text(made.stdout)
        text = text.replace(f"/etc/bind/{host}.key", str(tmp_path / f"{host}.key"))
    (tmp_path / "named.conf").write_text(text)
    done = subprocess.run(["named-checkconf", "-z", tmp_path / "named.conf"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "loaded serial 1" in done.stdout


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def test_chat_carries_lines_both_ways() -> None:
    command = [sys.executable, CHAT]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "bufsize": 1}
    port = str(free_port())
    with subprocess.Popen([*command, "listen", port], **pipes) as b:  # type: ignore[call-overload]
        assert b.stdout.readline() == f"waiting at port {port}\n"
        with subprocess.Popen([*command, "127.0.0.1", port], **pipes) as a:  # type: ignore[call-overload]
            assert a.stdout.readline() == b.stdout.readline() == "127.0.0.1 <-> 127.0.0.1\n"
            for sender, receiver in ((a, b), (b, a), (a, b)):
                sender.stdin.write("still there?\n")
                assert receiver.stdout.readline() == "> still there?\n"
            a.stdin.close()
            assert a.wait(10) == 0
        assert b.wait(10) == 0


@pytest.mark.parametrize("command", [[sys.executable, CHAT], ["sh", EXAMPLES / "two_hosts.sh"]])
def test_without_arguments_they_say_how(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2
    assert "usage: " in done.stdout + done.stderr


def test_chat_knows_nothing_of_vipnet() -> None:
    assert not re.search(r"^\s*(import|from) vipnet", CHAT.read_text(), re.MULTILINE)
    done = subprocess.run(
        [sys.executable, CHAT, "127.0.0.1", str(free_port())], capture_output=True, text=True
    )
    assert done.returncode == 1
    assert done.stderr.startswith("the connection is gone: ")

"""A daemon takes over a changed configuration: sessions and connections do not notice."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
from base64 import b64encode
from pathlib import Path
from typing import Any, Final

from tests.lab.apps import one_answer
from tests.lab.apps.program import program
from tests.lab.conftest import LabFactory
from tests.lab.labs import Lab, wait_until
from tests.lab.sniffer import LANS, VIPNET_PORT, sniffing
from tests.lab.test_guarantees import HANDSHAKE, conversation

KEY: Final = b64encode(bytes(31) + b"\1").decode()
RESOLVER, ANSWER = ("127.0.0.9", "5399"), "192.0.2.77"


class Edited:
    """A configuration file, to be changed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._text = self._path.read_text()

    def set(self, table: str, line: str) -> None:
        """Put LINE into TABLE, in the place of what there is of its key."""
        key = line.split(" = ", maxsplit=1)[0]
        head, _, rest = self._text.partition(f"[{table}]\n")
        body, bracket, others = rest.partition("\n[")
        body = re.sub(rf"(?m)^{key} = .*\n?", "", body)
        self._text = f"{head}[{table}]\n{line}\n{body}{bracket}{others}"
        self._path.write_text(self._text)

    def append(self, text: str) -> None:
        self._text += text
        self._path.write_text(self._text)


def reload(lab: Lab) -> dict[str, Any]:
    taken: dict[str, Any] = json.loads(lab.on("a", "vipnet", "reload", "--json").stdout)
    return taken


def address_of(lab: Lab, name: str) -> str | None:
    found = lab.on("a", "getent", "ahostsv4", name, check=False).stdout.split()
    return found[0] if found else None


def test_connections_go_on_and_a_wrong_configuration_is_refused(new_lab: LabFactory, tmp_path: Path) -> None:
    lab = new_lab(dns="embedded")
    log, a = lab.daemon_log("a"), lab.host("a")
    resolver = [sys.executable, one_answer.__file__, *RESOLVER, ANSWER]
    with program(lab, "a", resolver, tmp_path, name="resolver"), conversation(lab, "a", "b") as talking:
        talking.say("before")
        published = log.read_text().count("publish.done")
        with sniffing(lab, tmp_path, *LANS) as capture:
            config = Edited(Path(a["config"]))
            config.set("accept", 'from = ["*.elsewhere.test"]')
            config.set("dns", f'upstreams = ["{":".join(RESOLVER)}"]')
            config.set("publish", "ttl = 9")
            config.set("tun", "mtu = 1300")
            config.append(f'\n[[peer]]\nname = "z.vipip.net"\nkey = "{KEY}"\n')
            assert reload(lab) == {
                "taken": ["[dns] upstreams", "[publish] ttl", "[accept] from", "[[peer]] z.vipip.net"],
                "restart": ["[tun] mtu"],
            }
            talking.say("after")
            assert lab.ask("a", "status")["wants_restart"] == ["[tun] mtu"]
            wait_until(lambda: address_of(lab, "www.elsewhere.test") == ANSWER, "the other resolver is asked")
            wait_until(lambda: log.read_text().count("publish.done") > published, "published anew")
            peers = {peer["name"]: peer for peer in lab.ask("a", "peers")["peers"]}
            assert peers["z.vipip.net"]["trust"] == "pinned"

            config.set("accept", "from = 7")
            refused = lab.on("a", "vipnet", "reload", check=False)
            assert refused.returncode == 2
            assert re.search(r"config\.toml: .*from = 7.*; nothing has changed", refused.stderr)
            os.kill(a["pid"], signal.SIGHUP)
            wait_until(lambda: "config.refused" in log.read_text(), "a refusal in the log")
            talking.say("after a wrong one")
            config.set("accept", 'from = ["*.vipip.net"]')
            reloads = log.read_text().count("config.reloaded")
            os.kill(a["pid"], signal.SIGHUP)
            wait_until(lambda: log.read_text().count("config.reloaded") > reloads, "a reload by signal")
            talking.say("at the end")
        outer = [packet for packet in capture.packets if VIPNET_PORT in packet.ports]
        assert outer
        assert all(packet.payload[:4] != HANDSHAKE for packet in outer), "the same session throughout"

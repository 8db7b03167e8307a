"""The configurations in examples/: `init` writes them, and what they name is told this host's address."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
import trio
from msgspec import structs
from tests.bind import SECRET as TSIG_SECRET
from tests.bind import running_bind
from tests.cli.support import vipnet
from tests.publish.doubles import RECORD, CloudflareDouble, DuckDnsDouble
from tests.publish.webdouble import SECRET, Reply, Request, authority, serving
from tests.support import need_program

from vipnet.app.config import Config, load_config
from vipnet.app.publishers import prepare
from vipnet.errors import PublishError
from vipnet.names.desired import Desired
from vipnet.publish import Publisher, dyndns2
from vipnet.publish.hook import Hook
from vipnet.system.lookup import Lookup
from vipnet.types import Fqdn

EXAMPLES = Path(__file__).parents[1] / "examples"
CONFIGURATIONS = sorted({*EXAMPLES.glob("*/*.toml")})
HOOK = EXAMPLES / "hook/publish_by_nsupdate.py"
BOTH = ("192.0.2.1", "2001:db8::1")


def settings(text: str) -> list[str]:
    lines = [line for line in text.splitlines() if line and not line.startswith(("#", "key_file = "))]
    assert len(lines) > 3
    return lines


@pytest.mark.parametrize("path", CONFIGURATIONS, ids=lambda path: str(path.relative_to(EXAMPLES)))
def test_the_command_in_its_comment_writes_it(path: Path, tmp_path: Path) -> None:
    text = path.read_text()
    comment = "\n".join(line.removeprefix("#").strip() for line in text.splitlines() if line[:1] == "#")
    (command,) = re.findall(r"^sudo vipnet (init (?:.*\\\n)*.*)$", comment, re.MULTILINE)
    done = vipnet(
        *shlex.split(command.replace("\\\n", "")), "--offline", "--config", tmp_path / "config.toml"
    )
    assert done.status == 0, done.err
    assert settings((tmp_path / "config.toml").read_text()) == settings(text)


def test_there_is_one_for_each_kind() -> None:
    found = {load_config(path).publish.provider for path in CONFIGURATIONS}
    assert found == {"rfc2136", "dyndns2", "duckdns", "cloudflare", "hook"}


# --- the providers' sides


class Loopback:
    async def addresses(self, _name: Fqdn) -> tuple[str, ...]:
        return ("127.0.0.1",)


def publish(
    path: Path, directory: Path, answer: Callable[[Request], Reply], url: Callable[[str], Any]
) -> None:
    """Publish by the configuration PATH; ANSWER is the provider's, and URL makes settings of where it is."""
    (directory / "secret").write_text(SECRET.reveal())
    (directory / "secret").chmod(0o600)
    authority().cert_pem.write_to_path(directory / "ca.pem")
    config = load_config(path)

    async def main() -> None:
        with trio.fail_after(30):
            async with serving(answer, "ddns.test") as (_, address, _double):
                await publisher(address).publish(Desired(config.name, BOTH, RECORD))

    def publisher(address: str) -> Publisher:
        files = {"secret_file": directory / "secret", "ca_file": directory / "ca.pem"}
        section = structs.replace(config.publish, **files, **url(address))
        make = prepare(structs.replace(config, publish=section))
        assert make is not None
        return make(cast("Lookup", Loopback()))

    trio.run(main)


def test_duckdns(tmp_path: Path) -> None:
    duck = DuckDnsDouble()
    publish(EXAMPLES / "providers/duckdns.toml", tmp_path, duck, lambda url: {"url": url})
    assert (duck.ip, duck.ipv6, duck.txt) == (*BOTH, str(RECORD))


def test_cloudflare(tmp_path: Path) -> None:
    flare = CloudflareDouble()
    publish(EXAMPLES / "providers/cloudflare.toml", tmp_path, flare, lambda url: {"url": url})
    name = "laptop.example.org"
    assert (flare.contents(name, "A"), flare.contents(name, "AAAA")) == ({BOTH[0]}, {BOTH[1]})
    assert flare.contents(f"_vip.{name}", "TXT") in ({str(RECORD)}, {f'"{RECORD}"'})


def test_no_ip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Request] = []

    def answer(request: Request) -> Reply:
        asked.append(request)
        return Reply(200, "good 192.0.2.1")

    def moved(url: str) -> dict[str, object]:
        service = structs.replace(dyndns2.SERVICES["no-ip"], url=f"{url}/nic/update")
        monkeypatch.setitem(dyndns2.SERVICES, "no-ip", service)
        return {}

    publish(EXAMPLES / "providers/no-ip.toml", tmp_path, answer, moved)
    assert {request.path for request in asked} == {"/nic/update"}
    assert {request.query["hostname"] for request in asked} == {"van.ddns.net"}
    assert BOTH[0] in asked[0].query["myip"]


# --- the hook


def hook(config: Config, *arguments: str | Path) -> Hook:
    """As CONFIG has it; its program is where it is here."""
    assert config.publish.command[0] == "/usr/local/sbin/publish-by-nsupdate"
    return Hook((sys.executable, str(HOOK), *map(str, arguments)))


def test_the_hook_does_what_it_is_told(tmp_path: Path) -> None:
    need_program("nsupdate", "tsig-keygen")
    config = load_config(EXAMPLES / "hook/config.toml")
    key = tmp_path / "tsig"
    key.write_text(f'key "laptop.example.org" {{ algorithm hmac-sha256; secret "{TSIG_SECRET}"; }};\n')
    key.chmod(0o600)
    with running_bind(tmp_path / "bind", zone="example.org", names=("laptop",)) as bind:
        run = hook(config, key, bind.server.host, str(bind.server.port))
        for addresses in (BOTH, ("192.0.2.2",)):
            trio.run(run.publish, Desired(config.name, addresses, RECORD))
            assert bind.texts(config.name, "A") | bind.texts(config.name, "AAAA") == set(addresses)
            assert bind.texts(f"_vip.{config.name}", "TXT") == {f'"{RECORD}"'}
        trio.run(run.withdraw, Desired(config.name, ()))
        assert bind.texts(f"_vip.{config.name}", "TXT") == set()
        assert bind.texts(config.name, "A") == {"192.0.2.2"}

        key.write_text(key.read_text().replace("laptop", "server"))
        with pytest.raises(PublishError, match="ended with status 77") as caught:
            trio.run(run.publish, Desired(config.name, BOTH, RECORD))
        assert caught.value.permanent
    with pytest.raises(PublishError, match="ended with status 75") as caught:  # nobody is there now
        trio.run(run.publish, Desired(config.name, BOTH, RECORD))
    assert not caught.value.permanent

"""From a configuration to a publisher; what is imported for it; what is wrong is said early."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from vipnet.app.config import Config
from vipnet.app.publishers import prepare
from vipnet.app.toml import decode
from vipnet.errors import ConfigError
from vipnet.system.lookup import Lookup

WORD = "dGhpcnR5LXR3byBieXRlcyBvZiB0ZXN0IHNlY3JldCE="


def config(keys: str, name: str = "a.vipip.net") -> Config:
    return decode(f'name = "{name}"\n[publish]\n{keys}\n'.encode(), Config)


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    path = tmp_path / "secret"
    path.write_text(WORD + "\n")
    path.chmod(0o600)
    return path


@pytest.mark.parametrize(
    ("provider", "keys", "writes_record"),
    [
        ("rfc2136", 'key_secret_file = "{}"', True),
        ("dyndns2", 'service = "dynu"\nuser = "u"\nsecret_file = "{}"', False),
        ("dyndns2", 'url = "https://x.test/nic/update"\nuser = "u"\nsecret_file = "{}"', False),
        ("duckdns", 'secret_file = "{}"', True),
        ("cloudflare", 'secret_file = "{}"', True),
        ("desec", 'secret_file = "{}"\nurl = "https://desec.example.org/api/v1"', True),
        ("hetzner", 'secret_file = "{}"', True),
        ("hook", 'command = ["/bin/true", "{}"]', True),
    ],
)
def test_every_provider(provider: str, keys: str, writes_record: bool, secret: Path) -> None:
    name = "a.duckdns.org" if provider == "duckdns" else "a.vipip.net"
    make = prepare(config(f'provider = "{provider}"\n{keys.format(secret)}', name))
    assert make is not None
    publisher = make(Lookup(lambda: ()))
    assert (publisher.provider, publisher.writes_record) == (provider, writes_record)
    assert publisher.interval_s >= 0
    assert WORD not in repr(vars(publisher))


@pytest.mark.parametrize(
    ("keys", "name", "echoes"),
    [
        ('provider = "dyndns2"\nservice = "no-ip"\nuser = "u"', "a.ddns.net", False),
        ('provider = "dyndns2"\nservice = "no-ip"\nuser = "u"\naddress = ["observed"]', "a.ddns.net", True),
        ('provider = "dyndns2"\nservice = "dy.fi"\nuser = "u"', "a.dy.fi", True),
        ('provider = "duckdns"', "a.duckdns.org", False),
        ('provider = "duckdns"\naddress = ["observed", "interface"]', "a.duckdns.org", True),
        ('provider = "desec"\naddress = ["observed"]', "a.vipip.net", False),
    ],
)
def test_who_takes_the_address_that_it_sees(keys: str, name: str, echoes: bool, secret: Path) -> None:
    make = prepare(config(f'{keys}\nsecret_file = "{secret}"', name))
    assert make is not None
    assert make(Lookup(lambda: ())).echoes is echoes


def test_none() -> None:
    assert prepare(config("ttl = 5")) is None


def test_what_cannot_be_read_is_an_error_before_anything_runs(secret: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        prepare(config('provider = "desec"\nsecret_file = "/nowhere/token"'))
    with pytest.raises(ConfigError, match="ca_file"):
        prepare(config(f'provider = "desec"\nsecret_file = "{secret}"\nca_file = "{secret}"'))
    secret.chmod(0o644)
    with pytest.raises(ConfigError, match="chmod 600") as caught:
        prepare(config(f'provider = "desec"\nsecret_file = "{secret}"'))
    assert WORD not in str(caught.value)


def test_a_daemon_without_an_http_provider_does_not_load_httpx(secret: Path) -> None:
    """It would cost 5 MB of memory: 64 MB instead of 59, idling."""
    text = (
        "import sys, vipnet.app.daemon\n"
        "from vipnet.app import publishers, toml\n"
        "from vipnet.app.config import Config\n"
        "from vipnet.system.lookup import Lookup\n"
        f'keys = b\'name = "a.b.c"\\n[publish]\\nprovider = "rfc2136"\\nkey_secret_file = "{secret}"\'\n'
        "publishers.prepare(toml.decode(keys, Config))(Lookup(lambda: ()))\n"
        "print({'httpx', 'httpcore', 'certifi', 'h11'} & sys.modules.keys())\n"
    )
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("set()\n", "")

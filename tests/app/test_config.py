from __future__ import annotations

import re
import tomllib
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import msgspec
import pytest

from vipnet.app.config import Config, Mobility, PeerConfig, load_config
from vipnet.app.texts import Host, HostPort
from vipnet.app.toml import Section, decode
from vipnet.errors import ConfigError
from vipnet.policy import OLD_KEY_S, Policy, paper_policy
from vipnet.types import Fqdn, Locator

EXAMPLE = Path(__file__).parents[2] / "examples" / "config.toml"


def parse(text: str) -> Config:
    return decode(f'name = "a.vipip.net"\n{text}'.encode(), Config)


def test_only_the_name_is_needed() -> None:
    config = parse("")
    assert config == Config(name=Fqdn("a.vipip.net"))
    assert config.tun.subnet == IPv4Network("240.0.0.0/4")
    assert config.dns.listen == Locator("127.0.0.47", 53)
    with pytest.raises(ConfigError, match=r"^name is missing$"):
        decode(b"", Config)


def test_the_example_shows_every_key_with_its_default() -> None:
    text = EXAMPLE.read_text()
    assert decode(text.encode(), Config) == Config(name=Fqdn("laptop.example.org")), "as it is: all defaults"
    shown = decode(re.sub(r"(?m)^#(?=\[\[?\w+\]\]?$|\w+ = )", "", text).encode(), Config)
    raw = tomllib.loads(re.sub(r"(?m)^#(?=\[\[?\w+\]\]?$|\w+ = )", "", text))

    def compare(section: Section, table: dict[str, Any]) -> int:
        fields = msgspec.structs.fields(section)
        assert set(table) == {field.encode_name for field in fields}
        count = 0
        for field in fields:
            value = getattr(section, field.name)
            if isinstance(value, Section):
                count += compare(value, table[field.encode_name])
            elif field.encode_name == "peer":
                count += compare(value[0], table["peer"][0])
            else:
                count += 1
                assert field.required or field.default is None or value == field.default, field.name
        return count

    assert compare(shown, raw) > 30


def test_every_key_of_the_example_has_a_comment() -> None:
    blocks = EXAMPLE.read_text().split("\n\n")
    for block in blocks:
        if " = " in block:
            assert re.search(r"(?m)^# \w", block), block


def test_everything_set() -> None:
    config = parse(
        """
        [tun]
        interface = "vip1"
        subnet = "10.77.0.0/16"
        exclude = ["10.77.1.0/24"]
        [dns]
        listen = "127.0.0.1:5353"
        hook = "none"
        upstreams = ["192.0.2.1", "[2001:db8::1]:5353"]
        [publish]
        provider = "rfc2136"
        key_secret_file = "/etc/vipnet/tsig"
        zone = "VIPIP.net."
        [accept]
        from = ["*.vipip.net"]
        [[peer]]
        name = "b.vipip.net"
        address = "192.0.2.7"
        """
    )
    assert config.tun.exclude == (IPv4Network("10.77.1.0/24"),)
    assert config.dns.upstreams == (Locator("192.0.2.1", 53), Locator("2001:db8::1", 5353))
    assert config.publish.zone == "vipip.net"
    assert config.accept.from_ == ("*.vipip.net",)
    assert config.peers == (PeerConfig(name=Fqdn("b.vipip.net"), address=HostPort(Host("192.0.2.7"))),)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('[tun]\nsubnet = "128.0.0.0/3"', "[tun] subnet"),
        ('[tun]\nsubnet = "240.0.0.0/31"', "/4 to /30"),
        ('[tun]\nsubnet = "127.0.0.0/16"', "loopback"),
        ('[tun]\nsubnet = "224.0.0.0/4"', "multicast"),
        ('[tun]\nsubnet = "169.254.0.0/16"', "link-local"),
        ('[tun]\nsubnet = "0.0.0.0/8"', "this network"),
        ('[tun]\nexclude = ["10.0.0.0/8"]', "is not inside"),
        ('[tun]\nexclude = ["240.0.0.0/4"]', "leaves nothing"),
        ('[tun]\ninterface = "a/b"', "[tun] interface"),
        ('[tun]\ninterface = "tun%d"', "[tun] interface"),
        ('[tun]\ninterface = "sixteen-letters-"', "15 characters"),
        ("[transport]\nport = 0", "from 1 to 65535"),
        ("[transport]\nnat_keepalive_s = 60", "must be less than"),
        ("[mobility]\nlease_s = 0.5", "must exceed hint_timeout_ms"),
        ('[dns]\nlisten = "127.0.0.47:5353"', 'hook = "none"'),
        ('[dns]\nlisten = "0.0.0.0"', "loopback"),
        ('[dns]\nlisten = "192.0.2.1:53"', "127.0.0.0/8 or ::1"),
        ('[dns]\nupstreams = ["127.0.0.47"]', "that is listen"),
        ('[dns]\nupstreams = ["240.0.0.1"]', "is inside [tun] subnet"),
        ('[publish]\nprovider = "rfc2136"', "key_secret_file is missing"),
        ('[publish]\nzone = "ipip.net"', "is not in it"),
        ('[publish]\nserver = "240.0.0.1"', "is inside [tun] subnet"),
        ('[publish]\naddress = ["240.0.0.1"]', "is inside [tun] subnet"),
        ('[publish]\naddress = ["127.0.0.1"]', "nobody else reaches this host there"),
        ('[publish]\naddress = ["interfaces"]', '"interface", "observed", or an IP address'),
        ("[publish]\naddress = []", "must say what is published"),
        ('[[peer]]\nname = "a.vipip.net"', "own name"),
        ('[[peer]]\nname = "b.c"\n[[peer]]\nname = "B.c."', "there twice"),
        ('[[peer]]\nname = "b.c"\naddress = "240.9.9.9:1"', "is inside [tun] subnet"),
    ],
)
def test_rules(text: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(text)
    message = str(caught.value)
    assert words in message
    assert message.isprintable()


def test_a_lease_ends_before_the_key_that_could_renew_it() -> None:
    with pytest.raises(ConfigError, match="lease_s"):
        parse(f"[mobility]\nlease_s = {OLD_KEY_S}")


def test_policy_of_the_profiles() -> None:
    assert Mobility().policy() == Policy()
    assert Mobility(profile="paper").policy() == paper_policy()
    policy = parse(
        '[mobility]\nprofile = "paper"\nlease_s = 30\nhint_timeout_ms = 200\nhints = false'
    ).mobility.policy()
    assert policy == msgspec.structs.replace(paper_policy(), lease_s=30.0, hint_timeout_s=0.2, hints=False)


def test_load_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    with pytest.raises(ConfigError, match=rf"^{path}: no such file; `vipnet init"):
        load_config(path)
    path.write_text('name = "a.b"\n[tun]\nmtu = 1\n')
    with pytest.raises(ConfigError, match=rf"^{path}: \[tun\] mtu = 1"):
        load_config(path)
    with pytest.raises(ConfigError, match=rf"^{tmp_path}: Is a directory"):
        load_config(tmp_path)
    path.write_text('name = "a.b"\n')
    assert load_config(path).name == "a.b"


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ('provider = "dyndns2"', "service or url, one of them, is missing"),
        ('provider = "dyndns2"\nservice = "no-ip"\nurl = "https://x.test/"\nuser = "u"', "one of them"),
        ('provider = "dyndns2"\nservice = "no-ip"', "user is missing"),
        ('provider = "dyndns2"\nservice = "noip"', 'did you mean "no-ip"?'),
        ('provider = "desec"', "secret_file is missing"),
        ('provider = "hook"', "command is missing"),
        ('provider = "hook"\ncommand = [""]', "command[0]"),
        ('provider = "desec"\nsecret_file = "token"', "$CREDENTIALS_DIRECTORY/NAME"),
        ('provider = "desec"\nsecret_file = "$CREDENTIALS_DIRECTORY/../x"', "$CREDENTIALS_DIRECTORY/NAME"),
        ('provider = "desec"\nsecret_file = "/t"\nuser = "me"', "user means nothing to provider"),
        ('provider = "duckdns"\nsecret_file = "/t"', 'names like "a.duckdns.org" only'),
        ('provider = "cloudfare"', 'did you mean "cloudflare"?'),
        ('provider = "desec"\nsecret_file = "/t"\nurl = "http://desec.io/"', "a secret is sent there"),
        ('provider = "desec"\nsecret_file = "/t"\nurl = "https://u:p@desec.io/"', "must be a URL"),
        ('provider = "desec"\nsecret_file = "/t"\nurl = "https://desec.io:99999/"', "must be a URL"),
        ("min_interval_s = -1", "from 0 to 86400"),
    ],
)
def test_what_a_provider_needs_is_said(keys: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        decode(f'name = "a.vipip.net"\n[publish]\n{keys}\n'.encode(), Config)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "keys",
    [
        'provider = "rfc2136"\nkey_secret_file = "$CREDENTIALS_DIRECTORY/tsig"',
        'provider = "dyndns2"\nservice = "dy.fi"\nuser = "u"\nsecret_file = "$CREDENTIALS_DIRECTORY/ddns"',
        'provider = "dyndns2"\nurl = "http://127.0.0.1:8080/nic/update"\nuser = "u"\nsecret_file = "/t"',
        'provider = "hetzner"\nsecret_file = "/t"\nzone = "vipip.net"\nca_file = "/ca.pem"',
        'provider = "hook"\ncommand = ["/usr/local/bin/ddns", "--quiet"]\nmin_interval_s = 30',
    ],
)
def test_each_provider_can_be_configured(keys: str) -> None:
    decode(f'name = "a.vipip.net"\n[publish]\n{keys}\n'.encode(), Config)

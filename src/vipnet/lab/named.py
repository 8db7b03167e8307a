"""BIND as the lab's name server: its own directory, zone and keys, nothing of the system's."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

from vipnet.errors import HostError
from vipnet.lab.layout import ZONE
from vipnet.lab.zone import Record

_APPARMOR: Final = Path("/sys/kernel/security/apparmor/profiles")

_CONFIG: Final = """\
options {{
    directory "{directory}";
    listen-on {{ {ipv4} }};
    listen-on-v6 {{ {ipv6} }};
    recursion no;
    allow-transfer {{ none; }};
    notify no;
    dnssec-validation no;
    pid-file none;
    lock-file none;
    session-keyfile none;
}};
controls {{ }};
logging {{
    channel lab {{ file "{log}"; severity info; print-time iso8601; print-category yes; }};
    category default {{ lab; }};
    category queries {{ lab; }};
    category update {{ lab; }};
    category update-security {{ lab; }};
}};
{keys}
zone "{zone}" {{
    type primary;
    file "{zone_file}";
    update-policy {{
{grants}
    }};
}};
"""
_KEY: Final = 'key "{name}" {{ algorithm hmac-sha256; secret "{secret}"; }};'
# The same rule as the embedded server's: zone.may_change.
_GRANT: Final = """\
        grant {name}. name {name}. A AAAA;
        grant {name}. name _vip.{name}. TXT;
        grant {name}. name _seq._vip.{name}. TXT;"""


def prepare(
    directory: Path, log: Path, records: Iterable[Record], keys: Mapping[str, str], addresses: Sequence[str]
) -> list[str]:
    """Write configuration and zone; return the command that serves them. Raise HostError."""
    program = shutil.which("named") or shutil.which("named", path="/usr/sbin:/sbin")
    if program is None:
        raise HostError("`--dns bind` needs the program `named`: apt install bind9")
    zone_file, config = directory / f"{ZONE}.zone", directory / "named.conf"
    lines = [f"{record.name} {record.ttl} IN {record.kind} {record.value}" for record in records]
    zone_file.write_text("\n".join(lines) + "\n", encoding="ascii")
    text = _CONFIG.format(
        directory=directory,
        log=log,
        ipv4=_list(address for address in addresses if ":" not in address),
        ipv6=_list(address for address in addresses if ":" in address),
        keys="\n".join(_KEY.format(name=name, secret=secret) for name, secret in keys.items()),
        zone=ZONE,
        zone_file=zone_file,
        grants="\n".join(_GRANT.format(name=name) for name in keys),
    )
    config.touch(mode=0o600)  # it holds the keys
    config.write_text(text, encoding="ascii")
    return [*_unconfined(), program, "-f", "-n", "1", "-c", str(config)]


def _list(addresses: Iterable[str]) -> str:
    return "".join(f"{address}; " for address in addresses) or "none; "


def _unconfined() -> list[str]:
    """Debian's AppArmor profile keeps named out of every directory but the system's own."""
    try:
        confined = "named (enforce)" in _APPARMOR.read_text(encoding="ascii")
    except OSError:
        return []
    runner = shutil.which("aa-exec") or shutil.which("aa-exec", path="/usr/bin:/usr/sbin")
    if confined and runner is None:
        raise HostError("AppArmor confines `named`, and the lab has its own directory: apt install apparmor")
    return [runner, "-p", "unconfined", "--"] if confined and runner else []

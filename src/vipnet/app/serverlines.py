"""What `vipnet init --print-server` prints: the lines that let one host update its own name, per server."""

from __future__ import annotations

from base64 import b64encode
from pathlib import Path
from secrets import token_bytes
from typing import Final, Literal

import dns.tsig
from msgspec import Struct

from vipnet.app.keys import write_new
from vipnet.publish.tsigkey import load_tsig_key
from vipnet.types import Fqdn

Server = Literal["bind", "knot", "powerdns"]
SECRET_SIZE: Final = 32  # bytes; RFC 8945 section 10: as long as the hash, hmac-sha256's

# update-policy: https://bind9.readthedocs.io/en/latest/reference.html#dynamic-update-policies
_BIND: Final = """\
// named.conf: the key of {name}
key "{key}" {{
    algorithm {algorithm};
    secret "{secret}";
}};

// named.conf: the zone; one that is there gets the grant alone. named must be able to write
// where the file is: updates go into a journal beside it.
zone "{zone}" {{
    type primary;
    file "/var/lib/bind/{zone}.zone";
    update-policy {{
        grant {key} subdomain {name} A AAAA TXT;
    }};
}};
"""
# https://www.knot-dns.cz/docs/latest/html/reference.html#acl-section
_KNOT: Final = """\
# knot.conf: the key of {name}, and what it may
key:
  - id: {key}
    algorithm: {algorithm}
    secret: {secret}

acl:
  - id: vipnet-{name}
    key: {key}
    action: [query, update]
    update-owner: name
    update-owner-match: sub-or-equal
    update-owner-name: [{name}.]
    update-type: [A, AAAA, TXT]

# knot.conf: the zone; one that is there gets the acl alone, beside those it has
zone:
  - domain: {zone}
    acl: vipnet-{name}
"""
# https://doc.powerdns.com/authoritative/dnsupdate.html
_POWERDNS: Final = """\
# pdns.conf: updates are taken from everywhere, if a key has signed them
dnsupdate=yes
allow-dnsupdate-from=0.0.0.0/0,::/0

# once, on the server: the key of {name}, and its zone. PowerDNS lets a key change all of
# the zone; lua-dnsupdate-policy-script can say less.
pdnsutil import-tsig-key {key} {algorithm} {secret}
pdnsutil add-meta {zone} TSIG-ALLOW-DNSUPDATE {key}
"""
_TEXTS: Final[dict[Server, str]] = {"bind": _BIND, "knot": _KNOT, "powerdns": _POWERDNS}


class UpdateKey(Struct, frozen=True):
    """A TSIG key in its file; `new`: made just now."""

    key: dns.tsig.Key
    path: Path
    new: bool


def update_key(path: Path, name: str, algorithm: str) -> UpdateKey:
    """Return the key NAME with the secret in PATH; make one where there is none. Raise ConfigError."""
    new = not path.exists()
    if new:
        write_new(path, b64encode(token_bytes(SECRET_SIZE)) + b"\n", "TSIG key file")
    return UpdateKey(load_tsig_key(path, name, algorithm), path, new)


def server_lines(server: Server, name: Fqdn, zone: str, key: dns.tsig.Key) -> str:
    """What the administrator of SERVER pastes so that KEY may update NAME in ZONE, and nothing else there."""
    return _TEXTS[server].format(
        name=name,
        zone=zone,
        key=key.name.to_text(omit_final_dot=True),
        algorithm=key.algorithm.to_text(omit_final_dot=True),
        secret=b64encode(key.secret).decode(),
    )

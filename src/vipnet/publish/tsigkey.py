"""The TSIG secret, from a file of one line or as BIND's tools write it."""

from __future__ import annotations

import binascii
import re
from pathlib import Path
from typing import Final

import dns.name
import dns.tsig

from vipnet.errors import ConfigError
from vipnet.publish.secret import read_secret_file

_SECRET_MIN: Final = 16  # bytes; RFC 8945 section 10 wants as many as the hash has, users have less
# `key "NAME" { algorithm ALGORITHM; secret "BASE64"; };` of tsig-keygen and ddns-confgen
_STATEMENT = re.compile(r'secret\s+"?([A-Za-z0-9+/=]+)"?\s*;')


class _Key(dns.tsig.Key):
    """One whose repr, unlike dnspython's, does not show the secret."""

    def __repr__(self) -> str:
        return f"<TSIG key {self.name}>"


def load_tsig_key(path: Path, name: str, algorithm: str) -> dns.tsig.Key:
    """Return the key NAME with the secret in PATH. Raise ConfigError, one line that says the mend."""
    text = read_secret_file(path, "TSIG key file").decode("ascii", "replace")
    statement = _STATEMENT.search(text)
    try:
        secret = binascii.a2b_base64((statement[1] if statement else text.strip()).encode(), strict_mode=True)
    except ValueError:
        secret = b""
    if len(secret) < _SECRET_MIN:
        raise ConfigError(
            f"TSIG key file {path}: no secret in it: must be a line of base64, at least {_SECRET_MIN} bytes, "
            "or what tsig-keygen prints"
        )
    return _Key(dns.name.from_text(name), secret, dns.name.from_text(algorithm))

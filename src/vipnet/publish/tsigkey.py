"""The TSIG secret, from a file of one line or as BIND's tools write it."""

from __future__ import annotations

import binascii
import os
import re
import stat
from pathlib import Path
from typing import Final

import dns.name
import dns.tsig

from vipnet.errors import ConfigError

_FILE_MAX: Final = 4096  # bytes
_SECRET_MIN: Final = 16  # bytes; RFC 8945 section 10 wants as many as the hash has, users have less
# `key "NAME" { algorithm ALGORITHM; secret "BASE64"; };` of tsig-keygen and ddns-confgen
_STATEMENT = re.compile(r'secret\s+"?([A-Za-z0-9+/=]+)"?\s*;')


def load_tsig_key(path: Path, name: str, algorithm: str) -> dns.tsig.Key:
    """Return the key NAME with the secret in PATH. Raise ConfigError, one line that says the mend."""
    label = f"TSIG key file {path}"
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            text = file.read(_FILE_MAX).decode("ascii", "replace") if stat.S_ISREG(mode) else ""
    except OSError as error:
        raise ConfigError(f"{label}: {error.strerror}") from None
    if mode & 0o077:
        raise ConfigError(
            f"{label}: its mode {stat.S_IMODE(mode):04o} lets others use it; `chmod 600 {path}`"
        )
    statement = _STATEMENT.search(text)
    try:
        secret = binascii.a2b_base64((statement[1] if statement else text.strip()).encode(), strict_mode=True)
    except ValueError:
        secret = b""
    if len(secret) < _SECRET_MIN:
        raise ConfigError(
            f"{label}: no secret in it: one line of base64, at least {_SECRET_MIN} bytes, "
            "or what tsig-keygen prints"
        )
    return dns.tsig.Key(dns.name.from_text(name), secret, dns.name.from_text(algorithm))

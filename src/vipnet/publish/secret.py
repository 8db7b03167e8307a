"""Passwords and tokens: read from files, never shown."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path
from typing import Final
from urllib.parse import quote, quote_plus

from vipnet.errors import ConfigError

CREDENTIALS: Final = "$CREDENTIALS_DIRECTORY/"  # where systemd puts what LoadCredential= names
SIZE_MAX: Final = 4096  # bytes
HIDDEN: Final = "***"
_BASIC = re.compile(r"(\bbasic\s+)[A-Za-z0-9+/=]{4,}", re.IGNORECASE)  # RFC 7617: user and password


class Secret:
    """A text that no repr, f-string or log line shows by mistake: only `reveal` gives it."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        return self._text

    def hide_in(self, text: str) -> str:
        """TEXT without this secret, as it is or as URLs and headers spell it: providers may repeat it."""
        spellings = (self._text, quote(self._text, safe=""), quote_plus(self._text))
        for spelling in spellings:
            text = text.replace(spelling, HIDDEN)
        return _BASIC.sub(rf"\1{HIDDEN}", text)

    def __repr__(self) -> str:
        return f"Secret({HIDDEN})"

    __str__ = __repr__


def load_secret(path: Path, label: str) -> Secret:
    """Return the one line in PATH. Raise ConfigError, which says the mend and never what is in the file."""
    text = read_secret_file(path, label).decode("utf-8", "replace").strip()
    if not text or not text.isprintable():
        raise ConfigError(f"{label} {path}: must hold the secret alone, as one line of text")
    return Secret(text)


def read_secret_file(path: Path, label: str) -> bytes:
    """Return what is in PATH, which may begin with $CREDENTIALS_DIRECTORY (systemd.exec(5)).

    Raise ConfigError when it cannot be read, or when others than the owner can.
    """
    from_systemd = str(path).startswith(CREDENTIALS)
    if from_systemd:
        path = _credential(path, label)
    try:
        with path.open("rb") as file:
            # Of the open file, so that it is the mode of what is read.
            mode = os.fstat(file.fileno()).st_mode
            content = file.read(SIZE_MAX + 1) if stat.S_ISREG(mode) else b""
    except OSError as error:
        raise ConfigError(
            f"{label} {path}: {error.strerror}; is it a file that this user may read?"
        ) from None
    # systemd's directory is private already, and its access lists show as rights of the group.
    if mode & 0o077 and not from_systemd:
        raise ConfigError(
            f"{label} {path}: its mode {stat.S_IMODE(mode):04o} lets others use it; `chmod 600 {path}`"
        )
    if len(content) > SIZE_MAX:
        raise ConfigError(f"{label} {path}: over {SIZE_MAX} bytes; it must hold the secret alone")
    return content


def _credential(path: Path, label: str) -> Path:
    directory = os.environ.get("CREDENTIALS_DIRECTORY")
    name = str(path).removeprefix(CREDENTIALS)
    if not directory:
        raise ConfigError(
            f"{label} {path}: $CREDENTIALS_DIRECTORY is not set: "
            f"the systemd unit needs LoadCredential={name}:/path/of/the/secret"
        )
    return Path(directory, name)

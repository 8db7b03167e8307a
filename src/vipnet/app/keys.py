"""Secret keys in files: 32 bytes as one line of base64, readable by the owner only."""

from __future__ import annotations

import binascii
import os
import stat
from pathlib import Path
from typing import Final

from nacl.public import PrivateKey

from vipnet.errors import ConfigError
from vipnet.publish.secret import read_secret_file

KEY_SIZE: Final = 32  # bytes: an X25519 private key, a pre-shared key
_FILE_MAX: Final = 1024  # bytes; anything longer is not a key


def load_key(path: Path) -> bytes:
    """Return the 32 bytes in PATH.

    Raise ConfigError when there is no such file, when it holds something else, or
    when its mode lets group or others read it.
    """
    try:
        with path.open("rb") as file:
            # Of the open file, so that it is the mode of what is read.
            mode = os.fstat(file.fileno()).st_mode
            content = file.read(_FILE_MAX) if stat.S_ISREG(mode) else b""
    except FileNotFoundError:
        raise ConfigError(f"key file {path}: no such file; `vipnet init NAME` makes one") from None
    except OSError as error:
        raise ConfigError(
            f"key file {path}: {error.strerror}; try as root, or set another key_file"
        ) from None
    if mode & 0o077:
        raise ConfigError(
            f"key file {path}: its mode {stat.S_IMODE(mode):04o} lets others use it; `chmod 600 {path}`"
        )
    return _decode(content, f"key file {path}")


def _decode(content: bytes, label: str) -> bytes:
    try:
        key = binascii.a2b_base64(content.strip(), strict_mode=True)
    except ValueError:
        key = b""
    if len(key) != KEY_SIZE:
        raise ConfigError(f"{label}: not a key: must be one line, {KEY_SIZE} bytes in base64")
    return key


def load_psk(path: Path) -> bytes:
    """Return a pre-shared key; PATH may begin with $CREDENTIALS_DIRECTORY. Raise ConfigError."""
    return _decode(read_secret_file(path, "psk_file"), f"psk_file {path}")


def create_key(path: Path) -> bytes:
    """Make a new private key in PATH, mode 0600, and return its 32 bytes.

    A key is a host's identity: raise ConfigError rather than overwrite one.
    """
    key = bytes(PrivateKey.generate())
    write_new(path, binascii.b2a_base64(key), "key file")
    return key


def write_new(path: Path, content: bytes, label: str) -> None:
    """Put CONTENT into PATH, mode 0600, whole or not at all; raise ConfigError when there is such a file."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
        _write_secret(temporary, content)
        try:
            _link(temporary, path, label)
        finally:
            temporary.unlink()
        _sync_directory(path.parent)
    except OSError as error:
        raise ConfigError(f"{label} {path}: cannot be written: {error.strerror}; try as root") from None


def replace_key(path: Path, key: bytes) -> None:
    """Put KEY in the place of the one in PATH, whole or not at all. Raise ConfigError."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        try:
            _write_secret(temporary, binascii.b2a_base64(key))
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
        _sync_directory(path.parent)
    except OSError as error:
        raise ConfigError(
            f"key file {path}: cannot be replaced: {error.strerror}; try as root; the old key counts"
        ) from None


def _link(temporary: Path, path: Path, label: str) -> None:
    """Put TEMPORARY at PATH: whole or not at all, and never over another file."""
    try:
        path.hardlink_to(temporary)
    except FileExistsError:
        raise ConfigError(f"{label} {path}: exists, and is not overwritten; move it away first") from None


def _write_secret(path: Path, content: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with open(descriptor, "wb") as file:  # noqa: PTH123 - Path cannot open a descriptor
        file.write(content)
        file.flush()
        os.fsync(descriptor)


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

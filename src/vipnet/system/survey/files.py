"""Files and directories: may they be read by others, can anything be written, is there room."""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path

from msgspec import Struct

_TRIED: bytes = bytes(4096)


class FileFacts(Struct, frozen=True):
    """A file: `mode` is None where there is none, or none may look; `problem` says why."""

    path: str
    label: str
    mode: int | None
    owner: int | None = None
    problem: str | None = None


class DirectoryFacts(Struct, frozen=True):
    """A directory that vipnet writes to.

    exists   it, not only its parent
    problem  why a file of 4 KiB could not be written there; None: it could
    free     bytes for who is not root
    """

    path: str
    label: str
    exists: bool
    problem: str | None
    free: int | None


def file(path: Path, label: str) -> FileFacts:
    try:
        found = path.stat()
    except OSError as error:
        return FileFacts(str(path), label, None, problem=error.strerror)
    return FileFacts(str(path), label, stat.S_IMODE(found.st_mode), found.st_uid)


def directory(path: Path, label: str) -> DirectoryFacts:
    """Write to PATH and take it away again; to the nearest parent there is when PATH is to be made yet."""
    exists, nearest = path.is_dir(), path
    while not nearest.exists() and nearest != nearest.parent:
        nearest = nearest.parent
    problem = None
    try:
        with tempfile.TemporaryFile(dir=nearest) as tried:
            tried.write(_TRIED)
            tried.flush()
            os.fsync(tried.fileno())
    except OSError as error:
        problem = error.strerror or str(error)
    try:
        room = os.statvfs(nearest)
        free = room.f_bavail * room.f_frsize
    except OSError:
        free = None
    return DirectoryFacts(str(path), label, exists, problem, free)

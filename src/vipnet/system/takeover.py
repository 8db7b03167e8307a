"""Taking over /etc/resolv.conf: the system asks us, we ask whom it asked before.

The backup is written before the file is touched and removed after it is restored, so
that a crash at any moment leaves what the next start needs to put the original back.
A file that somebody else has written meanwhile (a DHCP client after a move) is newer
than the backup: it is never overwritten by it.
"""

from __future__ import annotations

import errno
import os
import re
from ipaddress import ip_address
from pathlib import Path
from typing import Final, Literal

import msgspec
from msgspec import Struct

from vipnet.errors import HostError

# systemd-resolved's stub, and the file where it keeps the servers that it asks itself. Once the
# system asks us, resolved takes *us* from resolv.conf: asking its stub would go round for ever.
RESOLVED_STUBS: Final = frozenset({"127.0.0.53", "127.0.0.54"})
RESOLVED_UPLINKS: Final = Path("/run/systemd/resolve/resolv.conf")

_MARK = "# Written by vipnet"
_NAMESERVER = re.compile(r"[ \t]*nameserver[ \t]+(\S+)")
_HEAD = 400  # characters, in which resolvconf says that the file is its own
_FILE_MAX = 65_536  # bytes; a longer file is no resolv.conf


class _Original(Struct, frozen=True):
    """What was there before us.

    text  None: no file; as Latin-1, so that any bytes come back as they were
    link  where a symbolic link led, None: not a link
    """

    text: str | None
    link: str | None
    mode: int


class ResolvConf:
    """PATH, taken over so that it names LISTEN alone; BACKUP keeps what was there.

    All methods raise HostError when a file cannot be read or written.
    """

    def __init__(
        self, path: Path, backup: Path, listen: str, *, resolved_uplinks: Path = RESOLVED_UPLINKS
    ) -> None:
        self._path, self._backup, self._listen = path, backup, listen
        self._resolved_uplinks = resolved_uplinks
        self._read_at: tuple[object, ...] | None = None
        self._upstreams: tuple[str, ...] = ()

    @property
    def keeper(self) -> Literal["resolved", "resolvconf"] | None:
        """The program that the file says it comes from, None when it is nobody's."""
        text = _read(self._path)
        if text.startswith(_MARK):
            return None
        servers = self._servers(text)
        if servers and RESOLVED_STUBS.issuperset(servers):
            return "resolved"
        return "resolvconf" if "resolvconf" in text[:_HEAD] else None

    @property
    def taken(self) -> bool:
        """True while the file is ours; False after somebody else has written it."""
        return _read(self._path).startswith(_MARK)

    def upstreams(self) -> tuple[str, ...]:
        """Return the name servers of the original, also while it is taken; never ourselves.

        Read anew only when a file has changed: every question of an application asks for them.
        """
        now = tuple(map(_stamp, (self._path, self._backup, self._resolved_uplinks)))
        if now != self._read_at:
            self._upstreams, self._read_at = self._read_upstreams(), now
        return self._upstreams

    def _read_upstreams(self) -> tuple[str, ...]:
        text = _read(self._path)
        if text.startswith(_MARK):
            original = self._load_backup()
            text = (original.text if original else None) or ""
        servers = self._servers(text)
        if servers and RESOLVED_STUBS.issuperset(servers):
            return self._servers(_read(self._resolved_uplinks)) or servers
        return servers

    def take(self) -> None:
        """Put ourselves in; idempotent. What somebody else has written meanwhile is the new original."""
        text = _read(self._path)
        original = self._load_backup()
        if text.startswith(_MARK) and original is not None:
            return
        if original is None or not self._half_written(text, original):
            original = self._look()
            self._save_backup(original)
        _write(self._path, self._ours(original), mode=original.mode)

    def restore(self) -> None:
        """Put the original back if the file is still ours; idempotent, also after a crash."""
        original, text = self._load_backup(), _read(self._path)
        if original is None:
            if text.startswith(_MARK):
                _write(self._path, self._without_ours(text), mode=self._path.stat().st_mode & 0o777)
            return
        if text.startswith(_MARK) or self._half_written(text, original):
            _put_back(self._path, original)
        try:
            self._backup.unlink(missing_ok=True)
        except OSError as error:
            raise _refused(self._backup, error) from None

    def _servers(self, text: str) -> tuple[str, ...]:
        found = []
        for match in filter(None, map(_NAMESERVER.match, text.splitlines())):
            try:
                address = str(ip_address(match[1]))
            except ValueError:
                continue
            if address != self._listen:
                found.append(address)
        return tuple(dict.fromkeys(found))

    def _ours(self, original: _Original) -> str:
        """The original with its name servers replaced: search list and options stay."""
        lines = (original.text or "").splitlines(keepends=True)
        kept = [line for line in lines if not _NAMESERVER.match(line)]
        if kept and not kept[-1].endswith("\n"):
            kept[-1] += "\n"
        note = f"{_MARK}, which asks the name servers that stood here; `vipnet down` puts them back.\n"
        return note + f"nameserver {self._listen}\n" + "".join(kept)

    def _without_ours(self, text: str) -> str:
        """TEXT as far as it is not from us: what can be saved when the backup is lost."""
        lines = text.splitlines(keepends=True)
        if text.startswith(_MARK):
            lines = [line for line in lines[1:] if line.split() != ["nameserver", self._listen]]
        return "".join(lines)

    def _half_written(self, text: str, original: _Original) -> bool:
        """True when a crash cut short a write in place: ours, or the original coming back."""
        # An empty file tells nothing, so there too the backup wins.
        ours, theirs = self._ours(original), original.text or ""
        return (
            ours.startswith(text)
            or theirs.startswith(text)
            or (original.text is not None and text == theirs + ours[len(theirs) :])
        )

    def _look(self) -> _Original:
        link = str(self._path.readlink()) if self._path.is_symlink() else None
        try:
            mode = self._path.stat().st_mode & 0o777
        except OSError:
            return _Original(None, link, 0o644)
        return _Original(self._without_ours(_read(self._path)), link, mode)

    def _load_backup(self) -> _Original | None:
        try:
            return msgspec.json.decode(self._backup.read_bytes(), type=_Original)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise _refused(self._backup, error) from None
        except msgspec.DecodeError as error:
            raise HostError(
                f"{self._backup}: not a backup of {self._path} ({error}); "
                f"write your name servers to {self._path} and remove {self._backup}"
            ) from None

    def _save_backup(self, original: _Original) -> None:
        try:
            self._backup.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise _refused(self._backup, error) from None
        _replace(self._backup, msgspec.json.encode(original), 0o600)


def _put_back(path: Path, original: _Original) -> None:
    try:
        if original.link is not None:
            temporary = _beside(path)
            temporary.unlink(missing_ok=True)
            temporary.symlink_to(original.link)
            temporary.replace(path)
        elif original.text is None:
            path.unlink(missing_ok=True)
        else:
            _write(path, original.text, mode=original.mode)
    except OSError as error:
        raise _refused(path, error) from None


def _stamp(path: Path) -> tuple[int, int, int] | None:
    """What is another when the file is."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


def _read(path: Path) -> str:
    """The file's text, empty when there is none."""
    try:
        with path.open("rb") as file:
            return file.read(_FILE_MAX).decode("latin-1")
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise _refused(path, error) from None


def _write(path: Path, text: str, *, mode: int) -> None:
    """Replace PATH atomically; in place where it is a mount point, as in containers."""
    content = text.encode("latin-1")
    try:
        _replace(path, content, mode)
    except _BusyError:
        try:
            # One write, then the cut: at no moment is the file empty.
            descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
            with open(descriptor, "wb", buffering=0) as file:  # noqa: PTH123 - Path cannot open a descriptor
                file.write(content)
                file.truncate()
                os.fsync(descriptor)
        except OSError as error:
            raise _refused(path, error) from None


class _BusyError(HostError):
    """No other file can take the path's name: it is a mount point, or its directory is not ours."""


def _replace(path: Path, content: bytes, mode: int) -> None:
    temporary = _beside(path)
    try:
        try:
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            with open(descriptor, "wb") as file:  # noqa: PTH123 - Path cannot open a descriptor
                file.write(content)
                file.flush()
                os.fchmod(descriptor, mode)
                os.fsync(descriptor)
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        _sync_directory(path.parent)
    except OSError as error:
        # A user namespace may write the file that is mounted for it, not the directory around it.
        if error.errno in (errno.EBUSY, errno.EACCES, errno.EROFS):
            raise _BusyError(f"{path} cannot be replaced") from None
        raise _refused(path, error) from None


def _beside(path: Path) -> Path:
    """A name that is this process's alone: hosts with a mounted resolv.conf each may share one /etc."""
    return path.with_name(f".{path.name}.vipnet-{os.getpid()}")


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _refused(path: Path, error: OSError) -> HostError:
    return HostError(
        f'{path}: {error.strerror}; make it writable, or set [dns] hook = "none" and let the system ask us'
    )

"""What survives a restart: SQLite, written before anybody is told.

One file, one process: the daemon holds SQLite's exclusive lock as long as it runs.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator, Sequence
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec
from msgspec import Struct

from vipnet.core.outputs import (
    DropBinding,
    DropOldKey,
    DropPeer,
    StoreBinding,
    StoreClock,
    StoredState,
    StoreOldKey,
    StoreOutput,
    StoreOwnToken,
    StorePeer,
    StoreQuarantine,
)
from vipnet.errors import ConfigError, HostError
from vipnet.types import Token

SCHEMA_VERSION: Final = 2
_SCHEMA: Final = """
CREATE TABLE schema (version INTEGER NOT NULL) STRICT;
CREATE TABLE host (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    timestamp INTEGER NOT NULL,
    move_number INTEGER NOT NULL,
    own_token TEXT
) STRICT;
CREATE TABLE peer (
    name TEXT PRIMARY KEY,
    key BLOB NOT NULL CHECK (length(key) = 32),
    trust TEXT NOT NULL,
    timestamp INTEGER NOT NULL,
    locators TEXT NOT NULL, -- JSON: [["192.0.2.1", 5847], ...]
    move_number INTEGER NOT NULL,
    active INTEGER NOT NULL,
    contacted INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE binding (
    name TEXT PRIMARY KEY,
    local_token TEXT NOT NULL,
    remote_token TEXT NOT NULL,
    generation INTEGER NOT NULL,
    accepted INTEGER NOT NULL,
    expires_at REAL NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE quarantine (
    token TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    until REAL NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO host VALUES (1, 0, 0, NULL);
"""
# The schema above is version 1; these lead from each version to the next.
_STEPS: Final = (
    """
ALTER TABLE peer ADD COLUMN own_key BLOB CHECK (length(own_key) = 32);
ALTER TABLE peer ADD COLUMN previous_keys TEXT NOT NULL DEFAULT '[]';
CREATE TABLE old_key (
    public BLOB PRIMARY KEY CHECK (length(public) = 32),
    private BLOB NOT NULL CHECK (length(private) = 32),
    until REAL NOT NULL
) STRICT, WITHOUT ROWID;
""",
)
Row = TypeVar("Row", StorePeer, StoreBinding, StoreQuarantine, StoreOldKey)
_LISTS: Final = ("locators", "previous_keys")  # columns with JSON; bytes are base64 there


class Store:
    """The state in the file PATH, made where it is missing.

    Raise HostError when the file cannot be had (another daemon, rights, disk, damage),
    ConfigError when a newer vipnet wrote it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        with self._explained():
            _create_private(path)
            # Autocommit: every transaction below is written out.
            self._db = sqlite3.connect(path, timeout=0, isolation_level=None)
        try:
            self._open()
        except BaseException:
            self._db.close()
            raise

    def _open(self) -> None:
        with self._explained():
            # Before WAL: with the lock ours alone, its index needs no shared memory file.
            self._db.execute("PRAGMA locking_mode = EXCLUSIVE")
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = FULL")
            # What was a private key is overwritten, not only unlinked.
            self._db.execute("PRAGMA secure_delete = ON")
            with self._transaction():
                version = self._version()
                if version < SCHEMA_VERSION:
                    self._lead_on(version)
        if version > SCHEMA_VERSION:
            raise ConfigError(
                f"{self._path} was written by a newer vipnet (schema {version}, this one knows "
                f"{SCHEMA_VERSION}): install that version again, or set another state_dir"
            )
        with self._explained():
            (verdict,) = self._db.execute("PRAGMA quick_check(1)").fetchone()
            if verdict != "ok":
                raise sqlite3.DatabaseError(verdict)

    def _version(self) -> int:
        if not self._db.execute("SELECT 1 FROM sqlite_schema WHERE name = 'schema'").fetchone():
            return 0
        (version,) = self._db.execute("SELECT max(version) FROM schema").fetchone()
        return int(version)

    def _lead_on(self, version: int) -> None:
        """From VERSION (0: an empty file) to the present schema, in the transaction that is open."""
        for script in (_SCHEMA, *_STEPS)[version:]:
            for statement in script.split(";\n"):
                self._db.execute(statement)
        self._db.execute("INSERT INTO schema VALUES (?)", (SCHEMA_VERSION,))

    def load(self) -> StoredState:
        """Return everything; raise HostError when a row makes no sense."""
        with self._explained():
            host = self._db.execute("SELECT timestamp, move_number, own_token FROM host").fetchone()
            try:
                return StoredState(
                    clock=StoreClock(*host[:2]),
                    own_token=None if host[2] is None else Token(IPv4Address(host[2])),
                    peers=self._rows("peer", StorePeer),
                    bindings=self._rows("binding", StoreBinding),
                    quarantine=self._rows("quarantine", StoreQuarantine),
                    old_keys=self._rows("old_key", StoreOldKey),
                )
            except (msgspec.MsgspecError, ValueError, TypeError) as error:
                raise sqlite3.DatabaseError(str(error)) from None

    def _rows(self, table: str, kind: type[Row]) -> list[Row]:
        """All rows, by primary key. A table's columns are the fields of its struct."""
        cursor = self._db.execute(f"SELECT * FROM {table} ORDER BY 1")  # noqa: S608 - our own words
        columns = [description[0] for description in cursor.description]
        rows = []
        for values in cursor:
            fields = dict(zip(columns, values, strict=True))
            for column in _LISTS:
                if column in fields:
                    fields[column] = msgspec.json.decode(fields[column])
            # Not strict: SQLite has 0 and 1 for bool.
            rows.append(msgspec.convert(fields, kind, strict=False, dec_hook=_from_column))
        return rows

    def apply(self, outputs: Sequence[StoreOutput]) -> None:
        """Write OUTPUTS, all or none; on return they are on the disk.

        Raise HostError when they cannot be written: disk full or read-only.
        """
        if not outputs:
            return
        with self._explained(), self._transaction():
            for output in outputs:
                self._write(output)

    def _write(self, output: StoreOutput) -> None:
        match output:
            case StoreClock(timestamp, move_number):
                self._db.execute("UPDATE host SET timestamp = ?, move_number = ?", (timestamp, move_number))
            case StoreOwnToken(token):
                self._db.execute("UPDATE host SET own_token = ?", (str(token),))
            case StorePeer():
                self._replace("peer", output)
            case StoreBinding():
                self._replace("binding", output)
            case StoreQuarantine():
                self._replace("quarantine", output)
            case StoreOldKey():
                self._replace("old_key", output)
            case DropOldKey(public):
                self._db.execute("DELETE FROM old_key WHERE public = ?", (public,))
            case DropPeer(name):
                self._db.execute("DELETE FROM peer WHERE name = ?", (name,))
            case DropBinding(name):
                self._db.execute("DELETE FROM binding WHERE name = ?", (name,))

    def _replace(self, table: str, row: Struct) -> None:
        columns = {name: _column(value) for name, value in msgspec.structs.asdict(row).items()}
        names, marks = ", ".join(columns), ", ".join("?" * len(columns))
        self._db.execute(
            f"REPLACE INTO {table} ({names}) VALUES ({marks})",  # noqa: S608 - our own words
            tuple(columns.values()),
        )

    def close(self) -> None:
        self._db.close()

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        """SQLite's errors and the system's as a HostError that says what to do."""
        try:
            yield
        except sqlite3.Error as error:
            raise HostError(f"{self._path}: {_mend(self._path, error)}") from error
        except FileExistsError as error:
            raise HostError(f"{self._path.parent} is not a directory: is state_dir right?") from error
        except OSError as error:
            raise HostError(f"{self._path}: {error.strerror}: is state_dir right?") from error


def _mend(path: Path, error: sqlite3.Error) -> str:
    # The code of a row that makes no sense, which we found ourselves, is none.
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF
    match code:
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return "another vipnet is running with this state; `vipnet down` stops it"
        case sqlite3.SQLITE_FULL:
            return "the disk is full; make room"
        case sqlite3.SQLITE_READONLY | sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_PERM:
            return f"cannot be written ({error}): is the disk mounted read-only, is {path.parent} root's?"
        case sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_NOTADB:
            return (
                f"is damaged ({error}): `mv {path} {path}.damaged` and start again; "
                "tokens are agreed on anew, keys of peers are learned anew"
            )
    return f"SQLite says: {error}"


def _create_private(path: Path) -> None:
    """Who talks to whom is nobody else's business: neither directory nor file is for others."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # Only if it is new: closing a file drops all locks that this process has on it.
    with contextlib.suppress(FileExistsError):
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))


def _column(value: Any) -> Any:  # noqa: ANN401 - whatever a field holds, whatever SQLite takes
    if isinstance(value, IPv4Address):
        return str(value)
    return msgspec.json.encode(value).decode() if isinstance(value, tuple) else value


def _from_column(kind: type, value: Any) -> Any:  # noqa: ANN401 - as above
    """Inverse of _column for what msgspec does not know; raise ValueError."""
    if kind is IPv4Address and isinstance(value, str):
        return IPv4Address(value)
    raise ValueError(f"no {kind.__name__}: {value!r}")

"""Entries as journald reads them, from a socket of our own and, where it is installed, by journald itself."""

from __future__ import annotations

import os
import socket
import struct
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vipnet.system.journal import Journal, encode, leads_to_journal

NAMES = st.from_regex(r"[A-Z][A-Z0-9_]{0,63}", fullmatch=True)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]))


def decode(entry: bytes) -> dict[str, str]:
    """The document's rules read backwards."""
    fields = {}
    while entry:
        line, _, entry = entry.partition(b"\n")
        name, equals, value = line.partition(b"=")
        if not equals:
            (size,) = struct.unpack_from("<Q", entry)
            value, entry = entry[8 : 8 + size], entry[8 + size :]
            assert entry[:1] == b"\n"
            entry = entry[1:]
        fields[name.decode()] = value.decode()
    return fields


@given(st.dictionaries(NAMES, TEXTS))
def test_every_text_survives(fields: dict[str, str]) -> None:
    assert decode(encode(fields)) == fields


def test_one_line_is_plain_several_have_their_length() -> None:
    """The two forms of the document's example."""
    assert encode({"MESSAGE": "Hello World"}) == b"MESSAGE=Hello World\n"
    assert encode({"MESSAGE": "a\nb"}) == b"MESSAGE\n" + bytes([3, 0, 0, 0, 0, 0, 0, 0]) + b"a\nb\n"


@pytest.mark.parametrize("name", ["", "_PID", "message", "A B", "A=B", "A\nB", "1ST", "A" * 65])
def test_a_name_that_journald_would_drop_is_a_fault_of_ours(name: str) -> None:
    with pytest.raises(ValueError, match="journal field"):
        encode({name: "x"})


@pytest.fixture
def path() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="vipnet-test-") as directory:
        yield Path(directory) / "socket"


def test_an_entry_is_a_datagram_also_after_journald_was_started_anew(path: Path) -> None:
    journal = Journal(path)
    assert not journal.send({"MESSAGE": "nobody is there"})
    for word in ("first", "second"):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journald:
            journald.bind(str(path))
            assert journal.send({"MESSAGE": word})
            assert decode(journald.recv(65536)) == {"MESSAGE": word}
        path.unlink()
    journal.close()


def test_a_journal_without_room_is_not_waited_for(path: Path) -> None:
    """The queue of a datagram socket is short (net.unix.max_dgram_qlen): it fills, and no send blocks."""
    journal = Journal(path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journald:
        journald.bind(str(path))
        sent = 0
        while journal.send({"MESSAGE": "x" * 1000}):
            sent += 1
            assert sent < 100_000
        journald.recv(65536)
        assert journal.send({"MESSAGE": "there is room again"})
    journal.close()


def test_the_variable_alone_does_not_make_a_stream_the_journals(tmp_path: Path) -> None:
    with (tmp_path / "stderr").open("w") as stream:
        status = os.fstat(stream.fileno())
        ours = {"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"}
        assert leads_to_journal(stream.fileno(), ours)
        assert not leads_to_journal(stream.fileno(), {"JOURNAL_STREAM": f"{status.st_dev}:1"})
        assert not leads_to_journal(stream.fileno(), {})
    assert not leads_to_journal(1 << 20, ours)

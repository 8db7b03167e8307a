from __future__ import annotations

import signal
import sqlite3
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from vipnet.core.outputs import (
    TRUST_ORDER,
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
from vipnet.system.store import _SCHEMA, SCHEMA_VERSION, Store
from vipnet.types import Fqdn, Locator, PublicKey, Token

A, B = Fqdn("a.vipip.net"), Fqdn("b.vipip.net")
T1, T2 = Token(IPv4Address("240.0.0.1")), Token(IPv4Address("240.0.0.2"))
PEER = StorePeer(A, PublicKey(bytes(32)), "dns", locators=(Locator("192.0.2.1", 5847),))
BINDING = StoreBinding(A, T1, T2, generation=1, accepted=True, expires_at=1e9)

# Few names and tokens, so that they meet.
NAMES = st.sampled_from([A, B, Fqdn("c.d")])
TOKENS = st.sampled_from([T1, T2, Token(IPv4Address("255.255.255.255"))])
COUNTS = st.integers(0, 2**63 - 1)
TIMES = st.floats(allow_nan=False, allow_infinity=False)
LOCATORS = st.builds(lambda ip, port: Locator(str(ip), port), st.ip_addresses(), st.integers(1, 65535))
KEYS = st.binary(min_size=32, max_size=32)
OUTPUTS = st.one_of(
    st.builds(StoreClock, COUNTS, COUNTS),
    st.builds(StoreOwnToken, TOKENS),
    st.builds(StoreBinding, NAMES, TOKENS, TOKENS, st.integers(0, 2**32 - 1), st.booleans(), TIMES),
    st.builds(DropBinding, NAMES),
    st.builds(StoreQuarantine, TOKENS, NAMES, TIMES),
    st.builds(
        StorePeer,
        NAMES,
        KEYS,
        st.sampled_from(TRUST_ORDER),
        COUNTS,
        st.lists(LOCATORS, max_size=8).map(tuple),
        COUNTS,
        st.booleans(),
        st.booleans(),
        st.none() | KEYS,
        st.lists(KEYS, max_size=3).map(tuple),
    ),
    st.builds(DropPeer, NAMES),
    st.builds(StoreOldKey, st.sampled_from([bytes(32), b"k" * 32]), KEYS, TIMES),
    st.builds(DropOldKey, st.sampled_from([bytes(32), b"k" * 32])),
)


def peer_row(trust: str, locators: str, previous_keys: str) -> str:
    values = f"'a.b', x'{bytes(32).hex()}', '{trust}', 0, '{locators}', 0, 0, 0, NULL, '{previous_keys}'"
    return f"INSERT INTO peer VALUES ({values})"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "state.db"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    store = Store(path)
    yield store
    store.close()


def expected(outputs: list[StoreOutput]) -> StoredState:
    """What OUTPUTS leave, by dictionaries."""
    state = StoredState()
    peers: dict[str, StorePeer] = {}
    bindings: dict[str, StoreBinding] = {}
    quarantine: dict[str, StoreQuarantine] = {}
    old_keys: dict[PublicKey, StoreOldKey] = {}
    for output in outputs:
        match output:
            case StoreClock():
                state.clock = output
            case StoreOwnToken():
                state.own_token = output.token
            case StorePeer():
                peers[output.name] = output
            case DropPeer():
                peers.pop(output.name, None)
            case StoreBinding():
                bindings[output.name] = output
            case DropBinding():
                bindings.pop(output.name, None)
            case StoreQuarantine():
                quarantine[str(output.token)] = output
            case StoreOldKey():
                old_keys[output.public] = output
            case DropOldKey():
                old_keys.pop(output.public, None)
    state.peers = [peers[name] for name in sorted(peers)]
    state.bindings = [bindings[name] for name in sorted(bindings)]
    state.quarantine = [quarantine[token] for token in sorted(quarantine)]
    state.old_keys = [old_keys[public] for public in sorted(old_keys)]
    return state


@settings(max_examples=40)
@given(st.lists(st.lists(OUTPUTS, max_size=6), max_size=4))
def test_what_is_applied_is_loaded_by_the_next_run(batches: list[list[StoreOutput]]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "state.db"
        for batch in batches:
            store = Store(path)
            store.apply(batch)
            store.close()
        store = Store(path)
        try:
            assert store.load() == expected([output for batch in batches for output in batch])
        finally:
            store.close()


def test_a_new_store_is_empty_and_private(store: Store, path: Path) -> None:
    assert store.load() == StoredState()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_durable_before_apply_returns(store: Store) -> None:
    pragmas = {
        name: store._db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous")
    }
    assert pragmas == {"journal_mode": "wal", "synchronous": 2}


def test_all_or_nothing(store: Store) -> None:
    too_big = StoreClock(2**63, 0)
    with pytest.raises((HostError, OverflowError)):
        store.apply([PEER, BINDING, too_big])
    assert store.load() == StoredState()
    store.apply([PEER])
    assert store.load().peers == [PEER]


def test_a_full_disk_is_said_and_loses_nothing(store: Store) -> None:
    store.apply([PEER])
    store._db.execute(f"PRAGMA max_page_count = {store._db.execute('PRAGMA page_count').fetchone()[0]}")
    flood = [StorePeer(Fqdn(f"n{i}.x"), PublicKey(bytes(32)), "dns") for i in range(500)]
    with pytest.raises(HostError, match="disk is full"):
        store.apply(flood)
    assert store.load().peers == [PEER]


def test_a_read_only_disk_is_said(store: Store) -> None:
    store._db.execute("PRAGMA query_only = 1")
    with pytest.raises(HostError, match="read-only"):
        store.apply([PEER])


def test_one_daemon_at_a_time(store: Store, path: Path) -> None:
    store.apply([PEER])
    with pytest.raises(HostError, match="another vipnet is running"):
        Store(path)
    code = f"from pathlib import Path; from vipnet.system.store import Store; Store(Path({str(path)!r}))"
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30)
    assert "another vipnet is running" in other.stderr
    store.apply([BINDING])
    assert store.load().bindings == [BINDING]


WRITER = """
import sys
from pathlib import Path
from ipaddress import IPv4Address
from vipnet.core.outputs import StoreBinding, StoreClock
from vipnet.system.store import Store
store = Store(Path(sys.argv[1]))
first = store.load().clock.timestamp + 1
token = IPv4Address("240.0.0.1")
for i in range(first, first + 1_000_000):
    store.apply([StoreClock(i, i), StoreBinding("a.b", token, token, i, True, 0.0)])
    print(i, flush=True)
"""


def test_kill_9_loses_nothing_that_was_applied(path: Path) -> None:
    for round_ in range(3):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True
        )
        assert writer.stdout is not None
        with writer.stdout as output:
            seen = [int(output.readline()) for _ in range(5 + 7 * round_)]
            writer.send_signal(signal.SIGKILL)
            seen += [int(line) for line in output if line.endswith("\n")]
        assert writer.wait() == -signal.SIGKILL
        store = Store(path)
        state = store.load()
        store.close()
        assert state.clock.timestamp >= seen[-1]
        assert state.clock.timestamp == state.clock.move_number == state.bindings[0].generation


@pytest.mark.parametrize("content", [b"not a database" * 400, b"SQLite format 3\0" + b"\xff" * 5000])
def test_damage_is_said_with_the_way_out(path: Path, content: bytes) -> None:
    path.parent.mkdir()
    path.write_bytes(content)
    with pytest.raises(HostError, match=f"damaged .*`mv {path} "):
        Store(path)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE host SET own_token = 'x'",
        "DELETE FROM host",
        "INSERT INTO binding VALUES ('a.b', 'x', '240.0.0.1', 1, 1, 0)",
        peer_row("dns", '[["1.2.3", 5]]', "[]"),
        peer_row("dns", "x", "[]"),
        peer_row("friend", "[]", "[]"),
        peer_row("dns", "[]", "[1]"),
        "INSERT INTO quarantine VALUES ('240.0.0.300', 'a.b', 0)",
    ],
)
def test_a_row_that_makes_no_sense_is_damage(store: Store, statement: str) -> None:
    store._db.execute(statement)
    with pytest.raises(HostError, match="damaged"):
        store.load()


def test_a_damaged_page_is_found_at_the_start(path: Path) -> None:
    store = Store(path)
    store.apply([StorePeer(Fqdn(f"n{i}.x"), PublicKey(bytes(32)), "dns") for i in range(300)])
    store.close()
    content = bytearray(path.read_bytes())
    content[8192:] = b"\xa5" * len(content[8192:])
    path.write_bytes(content)
    with pytest.raises(HostError, match="damaged"):
        Store(path)


def test_the_first_schema_is_led_on(path: Path) -> None:
    """What a vipnet of before key rotation has written."""
    path.parent.mkdir(parents=True)
    old = sqlite3.connect(path)
    old.executescript(_SCHEMA)
    old.execute("INSERT INTO schema VALUES (1)")
    row = (A, bytes(32), "dns", 7, '[["192.0.2.1", 5847]]', 8, 1, 0)
    old.execute("INSERT INTO peer VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row)
    old.execute("UPDATE host SET timestamp = 3, move_number = 4, own_token = '240.0.0.1'")
    old.execute("INSERT INTO binding VALUES (?, '240.0.0.1', '240.0.0.2', 5, 1, 6.0)", (A,))
    old.execute("INSERT INTO quarantine VALUES ('240.0.0.3', ?, 7.0)", (A,))
    old.commit()
    old.close()
    for _ in range(2):
        store = Store(path)
        state = store.load()
        store.close()
    own, theirs, quarantined = (Token(IPv4Address(f"240.0.0.{number}")) for number in (1, 2, 3))
    assert (state.clock, state.own_token) == (StoreClock(3, 4), own)
    assert state.bindings == [StoreBinding(A, own, theirs, generation=5, accepted=True, expires_at=6.0)]
    assert state.quarantine == [StoreQuarantine(quarantined, A, 7.0)]
    (peer,) = state.peers
    assert peer == structs.replace(PEER, timestamp=7, move_number=8, active=True)
    assert peer.own_key is None
    assert peer.previous_keys == ()


def test_a_newer_schema_is_left_alone(path: Path) -> None:
    Store(path).close()
    db = sqlite3.connect(path)
    db.execute(f"INSERT INTO schema VALUES ({SCHEMA_VERSION + 1})")
    db.commit()
    db.close()
    before = path.read_bytes()
    with pytest.raises(ConfigError, match=f"schema {SCHEMA_VERSION + 1}"):
        Store(path)
    assert path.read_bytes() == before


def test_where_no_file_can_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(HostError, match="state_dir"):
        Store(tmp_path / "file" / "state.db")


def test_greatest_numbers(store: Store) -> None:
    greatest: dict[str, Any] = {"timestamp": 2**63 - 1, "move_number": 2**63 - 1}
    store.apply([StoreClock(**greatest), StorePeer(A, PublicKey(bytes(32)), "pinned", **greatest)])
    assert store.load().clock == StoreClock(**greatest)
    assert store.load().peers[0].timestamp == 2**63 - 1

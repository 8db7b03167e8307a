"""A key log: its lines, its feed, and what they open."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Any, cast

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from vipnet.app.engine import Engine
from vipnet.app.keylog import KeyLine, KeyLog, Keys
from vipnet.core.outputs import SessionKeys
from vipnet.crypto.train import TrainSealing
from vipnet.crypto.transport import Cipher, SealingKey
from vipnet.errors import ConfigError, HostError
from vipnet.types import Fqdn

A, B = "a.example", "b.example"
SEALING, OPENING = bytes(range(32)), bytes(range(32, 64))
SESSION = SessionKeys(Fqdn(B), 0x11111111, 0x22222222, "AES_256_GCM", SEALING, OPENING)


class FakeEngine:
    def __init__(self) -> None:
        self.logs: list[bool] = []
        self.key_log: Callable[[SessionKeys], object] = lambda _keys: None

    def log_keys(self, on: bool) -> None:
        self.logs.append(on)


def run(test: Callable[[FakeEngine, KeyLog], Awaitable[None]]) -> FakeEngine:
    engine = FakeEngine()
    trio.run(test, engine, KeyLog(Fqdn(A), cast("Engine", engine)))
    return engine


@given(
    st.builds(
        KeyLine,
        st.integers(1, 2**32 - 1),
        st.sampled_from(Cipher),
        st.binary(min_size=32, max_size=32),
        st.just(A),
        st.just(B),
    )
)
def test_line_round_trip(line: KeyLine) -> None:
    assert KeyLine.parse(str(line)) == line


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("vipnet-key 1 AES_256_GCM", "not a line"),
        (f"SESSION 00000001 AES_256_GCM {SEALING.hex()} {A} {B}", "not a line"),
        (f"vipnet-key 00000001 ROT13 {SEALING.hex()} {A} {B}", "ROT13 is no cipher: AES_256_GCM"),
        (f"vipnet-key 00000000 AES_256_GCM {SEALING.hex()} {A} {B}", "8 hexadecimal digits"),
        (f"vipnet-key 00000001 AES_256_GCM abcd {A} {B}", "a key 64"),
        (f"vipnet-key 00000001 AES_256_GCM xyz {A} {B}", "hexadecimal"),
    ],
)
def test_what_is_no_line(text: str, says: str) -> None:
    with pytest.raises(ConfigError, match=f"line 3: .*{says}.*vipnet key log"):
        Keys(["# a comment", "", text])


@given(st.text(max_size=200))
def test_garbage_is_a_mistake_of_the_user(text: str) -> None:
    try:
        Keys([text])
    except ConfigError:
        return
    assert not text.strip() or text.startswith("#")


def test_the_feed_has_a_line_for_each_direction() -> None:
    async def main(engine: FakeEngine, keylog: KeyLog) -> None:
        feed = keylog.feed({})
        async with trio.open_nursery() as nursery:
            found: list[bytes] = []

            async def read() -> None:
                found.append(await anext(feed))

            nursery.start_soon(read)
            await trio.testing.wait_all_tasks_blocked()
            assert engine.logs == [True]
            with pytest.raises(HostError, match="runs already"):
                keylog.feed({})
            engine.key_log(SESSION)
        sealed, opened = (KeyLine.parse(line) for line in found[0].decode().splitlines())
        assert sealed == KeyLine(0x22222222, Cipher.AES_256_GCM, SEALING, A, B)
        assert opened == KeyLine(0x11111111, Cipher.AES_256_GCM, OPENING, B, A)
        await feed.aclose()
        assert engine.logs == [True, False]
        engine.key_log(SESSION)  # nobody reads any more
        again = keylog.feed({})
        await again.aclose()

    run(main)


def test_who_does_not_read_holds_up_nothing() -> None:
    async def main(engine: FakeEngine, keylog: KeyLog) -> None:
        feed = keylog.feed({})
        async with trio.open_nursery() as nursery:
            nursery.start_soon(feed.__anext__)
            await trio.testing.wait_all_tasks_blocked()
            for _ in range(5000):
                engine.key_log(SESSION)
        await feed.aclose()

    run(main)


def test_the_daemon_s_log_says_that_it_runs_and_no_key(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)

    async def main(engine: FakeEngine, keylog: KeyLog) -> None:
        feed = keylog.feed({})
        async with trio.open_nursery() as nursery:
            nursery.start_soon(feed.__anext__)
            await trio.testing.wait_all_tasks_blocked()
            engine.key_log(SESSION)
        await feed.aclose()

    run(main)
    said: list[dict[str, Any]] = [vars(record) for record in caplog.records]
    assert [(one["levelname"], one["msg"]) for one in said] == [
        ("WARNING", "keylog.begun"),
        ("WARNING", "keylog.ended"),
    ]
    assert SEALING.hex() not in str(said)


def test_an_index_may_come_again_with_another_key() -> None:
    lines = [KeyLine(7, Cipher.AES_256_GCM, key, A, B) for key in (SEALING, OPENING)]
    keys = Keys(map(str, lines))
    for line in lines:
        datagram = SealingKey(line.key, line.cipher).seal(7, 1, b"text\1")
        assert keys.open(7, datagram) == (line, b"text\1")
    assert keys.open(7, SealingKey(bytes(32), Cipher.AES_256_GCM).seal(7, 1, b"text\1")) is None
    assert (7 in keys, 8 in keys) == (True, False)


def test_a_key_of_a_session_with_trains_opens_their_pieces_and_all_else() -> None:
    line = KeyLine(7, Cipher.AES_256_GCM_TRAINS, OPENING, A, B)
    before = KeyLine(7, Cipher.AES_256_GCM_TRAINS, SEALING, A, B)
    keys = Keys(map(str, (before, line)))
    ends = (b"tail\2", b"last\2")
    sealed = TrainSealing(OPENING).seal(7, 1, memoryview(b"one-two-"), 4, ends, b"end\5")
    stride = 12 + 4 + 5 + 16
    pieces = [sealed[at : at + stride] for at in (0, stride)]
    found = [keys.open(7, datagram) for datagram in (*pieces, sealed[2 * stride :])]
    assert found[:2] == [(line, b"one-tail\2"), (line, b"two-last\2")]
    assert found[2] is not None
    assert found[2][1].endswith(b"end\5")
    # Under the same key, but between hosts that know no trains, nobody seals a piece.
    plain = Keys([str(KeyLine(7, Cipher.AES_256_GCM, OPENING, A, B))])
    assert [plain.open(7, piece) for piece in pieces] == [None, None]
    assert [keys.open(7, pieces[0][:size]) for size in range(stride)] == [None] * stride

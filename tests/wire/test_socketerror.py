from __future__ import annotations

import errno
import struct

from hypothesis import given
from hypothesis import strategies as st

from vipnet.wire.socketerror import too_big


def extended(number: int, origin: int, info: int) -> bytes:
    """struct sock_extended_err, and the address of who says so behind it."""
    return struct.pack("=IBBBBII", number, origin, 3, 4, 0, info, 0) + bytes(16)


def test_routers_and_our_own_kernel_are_told_apart() -> None:
    assert too_big(extended(errno.EMSGSIZE, 1, 1300)) == (1300, True)
    assert too_big(extended(errno.EMSGSIZE, 2, 1400)) == (1400, False)
    assert too_big(extended(errno.EMSGSIZE, 3, 1280)) == (1280, False)


def test_other_errors_say_nothing() -> None:
    assert too_big(extended(errno.ECONNREFUSED, 2, 1400)) is None
    assert too_big(extended(errno.EMSGSIZE, 4, 1400)) is None, "a time stamp"


@given(st.binary(max_size=40))
def test_anything_is_read_or_nothing(data: bytes) -> None:
    found = too_big(data)
    assert found is None or 0 <= found[0] < 2**32

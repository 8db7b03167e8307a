"""Copies of a world for a search: pickled once, and brought back to life any number of times.

Several times as fast as copy.deepcopy: what never changes is not copied.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Hashable
from io import BytesIO
from ipaddress import IPv4Address, IPv4Network
from typing import Any

from vipnet.core.trust import AcceptPolicy
from vipnet.policy import Policy
from vipnet.types import Locator


def freeze(world: object) -> bytes:
    frozen = BytesIO()
    pickler = pickle.Pickler(frozen, pickle.HIGHEST_PROTOCOL)
    pickler.dispatch_table = _SHARED
    pickler.dump(world)
    return frozen.getvalue()


def thaw(frozen: bytes) -> Any:
    """What was frozen in this process."""
    return pickle.loads(frozen)


_values: list[object] = []
_numbers: dict[object, int] = {}


def _share(value: Hashable) -> tuple[Callable[[int], object], tuple[int]]:
    """Values that never change are not copied."""
    number = _numbers.get(value)
    if number is None:
        number = _numbers[value] = len(_values)
        _values.append(value)
    return _shared, (number,)


def _shared(number: int) -> object:
    return _values[number]


_SHARED = dict.fromkeys((IPv4Address, IPv4Network, Locator, Policy, AcceptPolicy), _share)

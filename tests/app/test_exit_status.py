"""What an error means for whoever called the command."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from vipnet.app.control import exit_status, vipnet_error
from vipnet.errors import ConfigError, HostError, NotReadyError, NotRunningError, VipnetError


def test_exit_status_by_class() -> None:
    statuses = {
        kind: exit_status(kind("x")) for kind in (ConfigError, NotReadyError, NotRunningError, HostError)
    }
    assert statuses == {ConfigError: 2, NotReadyError: 3, NotRunningError: 4, HostError: 1}


LEAVES = st.sampled_from([HostError("busy"), ConfigError("wrong"), ZeroDivisionError(), KeyboardInterrupt()])
GROUPS = st.recursive(
    LEAVES,
    lambda parts: st.lists(parts, min_size=1, max_size=3).map(lambda p: BaseExceptionGroup("", p)),
    max_leaves=8,
)


def leaves(error: BaseException) -> list[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        return [leaf for part in error.exceptions for leaf in leaves(part)]
    return [error]


@given(GROUPS)
def test_a_group_is_a_reason_only_when_all_of_it_is(error: BaseException) -> None:
    parts = leaves(error)
    if all(isinstance(part, VipnetError) for part in parts):
        assert vipnet_error(error) is parts[0]
    else:
        assert vipnet_error(error) is None

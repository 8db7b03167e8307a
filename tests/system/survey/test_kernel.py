from __future__ import annotations

import os
import socket

import pytest
from tests.netns import namespace
from tests.support import need, need_root

from vipnet.system.survey import kernel
from vipnet.system.survey.kernel import CAP_NET_ADMIN, KernelFacts, OffloadFacts


def test_this_kernel() -> None:
    found = kernel.kernel(os.getpid())
    assert (found.system, found.release) == (os.uname().sysname, os.uname().release)
    assert found.version >= (3, 0)
    assert found.is_daemons
    assert kernel.kernel(None).capabilities == found.capabilities
    assert not kernel.kernel(2**22 + 1).is_daemons, "no such process"


@pytest.mark.parametrize(
    ("release", "version"), [("6.1.0-13-amd64", (6, 1)), ("5.10", (5, 10)), ("6", (0, 0)), ("x", (0, 0))]
)
def test_versions(release: str, version: tuple[int, int]) -> None:
    assert KernelFacts("Linux", release, None, 0, is_daemons=False).version == version


def test_root_has_what_it_needs() -> None:
    need_root()
    assert kernel.kernel(None).has(CAP_NET_ADMIN)
    assert not KernelFacts("Linux", "6.1", None, 1 << 10, is_daemons=False).has(CAP_NET_ADMIN)


def test_offloads_are_really_tried() -> None:
    need(os.path.exists("/dev/net/tun"), "/dev/net/tun")  # noqa: PTH110
    with namespace() as space:
        before = space.run("ip", "-br", "link")
        assert space.call(kernel.offloads) == OffloadFacts(tun=True, udp_send=True, udp_receive=True)
        assert space.run("ip", "-br", "link") == before, "the interface is gone again"
        space.ip("link set lo down")
        assert space.call(kernel.offloads).udp_send is None


@pytest.mark.parametrize(
    ("missing", "expected"),
    [
        ({kernel._UDP_SEGMENT}, (False, True)),
        ({kernel._UDP_GRO}, (True, False)),
        ({kernel._UDP_SEGMENT, kernel._UDP_GRO}, (False, False)),
    ],
)
def test_a_kernel_without_them(
    missing: set[int], expected: tuple[bool, bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = kernel._set
    monkeypatch.setattr(
        kernel, "_set", lambda sock, option, value: option not in missing and real(sock, option, value)
    )
    found = kernel.offloads()
    assert (found.udp_send, found.udp_receive) == expected


def test_options_that_udp_does_not_know_are_refused() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        assert not kernel._set(sock, 9999, 1)

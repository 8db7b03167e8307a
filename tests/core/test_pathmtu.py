"""The size of a path, by probes: whatever gets lost, whatever routers say."""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from vipnet.core.pathmtu import PathMtu, PathMtus, State, Step
from vipnet.policy import MTU_BASE, Policy
from vipnet.types import Instant, Locator
from vipnet.wire.datagram import TCP_OVERHEAD

V4, V6 = Locator("192.0.2.1", 5847), Locator("2001:db8::1", 5847)
TUN_MTU = 1420
MOST = TUN_MTU + TCP_OVERHEAD + 28  # bytes of an IPv4 packet with the largest of tun0
RTO_S, RTT_S = 0.25, 0.125  # exact as floats
POLICY = Policy()


@dataclass
class Link:
    """A path that carries `mtu` bytes, and a clock; it loses and says what it is told to."""

    mtu: int
    to: Locator = V4
    tun_mtu: int = TUN_MTU
    now: float = 1000.0
    lost: list[bool] = field(default_factory=list)  # of the next probes
    silent: bool = False  # nothing is heard at all
    heard_at: float = 0.0
    probed: list[int] = field(default_factory=list)
    lost_since: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.path = PathMtu((self.to, None), self.tun_mtu, POLICY, Random(1).randbytes)

    def run(self, until_idle_s: float = 100.0) -> float:
        """Serve the timers until there is none; return how long that took."""
        begun = self.now
        while (at := self.path.next_timeout()) is not None and self.now - begun < until_idle_s:
            self.now = max(self.now, at)
            self.take(self.path.handle_timeout(Instant(self.now), RTO_S, Instant(self.heard_at)))
        return self.now - begun

    def take(self, step: Step) -> None:
        self.lost_since += [] if step.lost_since is None else [step.lost_since]
        answered = []
        for probe in step.probes:
            self.probed.append(probe.size)
            lost = self.lost.pop(0) if self.lost else False
            if probe.size <= self.mtu and not lost and not self.silent:
                answered.append(probe.data)
        self.now += RTT_S if answered else 0.0
        for data in answered:
            self.heard_at = self.now
            assert self.path.handle_answer(data, Instant(self.now))

    def want(self) -> None:
        self.path.want(Instant(self.now))

    def search(self) -> None:
        self.want()
        self.run()
        assert self.path.state is State.COMPLETE

    def full_datagram(self) -> None:
        if self.now >= self.path.watch_at:
            self.path.watch(Instant(self.now))
        self.run()


def test_nothing_is_probed_until_something_does_not_fit() -> None:
    link = Link(1500)
    assert link.path.next_timeout() is None
    assert (link.path.state, link.path.size, link.path.narrow) == (State.BASE, MTU_BASE, True)
    assert link.path.inner_max == MTU_BASE - 28 - TCP_OVERHEAD
    assert link.path.whole_max < 0, "DF only where a probe has shown that it arrives"


def test_a_wide_path_is_known_in_one_round_trip() -> None:
    link = Link(1500)
    link.want()
    assert link.run() == RTT_S
    assert link.probed == [MTU_BASE, MOST]
    assert (link.path.state, link.path.size) == (State.COMPLETE, MOST)
    assert not link.path.narrow
    assert (link.path.inner_max, link.path.whole_max) == (TUN_MTU, MOST - 28)


@given(
    mtu=st.integers(MTU_BASE, 9100),
    to=st.sampled_from([V4, V6]),
    tun_mtu=st.integers(1300, 9000),
    lost=st.lists(st.booleans(), max_size=12),
)
def test_what_is_found_passes_and_little_more_would(
    mtu: int, to: Locator, tun_mtu: int, lost: list[bool]
) -> None:
    # No size is lost three times: that is what "it does not pass" means.
    link = Link(mtu, to, tun_mtu, lost=[one and number % 3 != 2 for number, one in enumerate(lost)])
    link.want()
    took_s = link.run()
    most = tun_mtu + TCP_OVERHEAD + 8 + (40 if to is V6 else 20)
    assert link.path.size <= max(mtu, MTU_BASE) or link.path.state is State.ERROR
    if not any(lost):
        assert link.path.state in (State.COMPLETE, State.BASE)
        assert min(mtu, most) - 8 < link.path.size <= max(min(mtu, most), MTU_BASE)
    assert link.path.next_timeout() is None, "a search ends"
    assert took_s < 8 * RTO_S * 10
    assert len(link.probed) < 100


def test_a_lost_probe_is_sent_again() -> None:
    link = Link(1500, lost=[False, True])
    link.search()
    assert link.path.size == MOST


def test_a_router_shortens_the_search() -> None:
    told, untold = Link(1404), Link(1404)
    untold.search()
    told.want()
    told.take(told.path.handle_timeout(Instant(told.now), RTO_S, None))
    told.path.handle_too_big(1404, Instant(told.now))
    assert told.run() < RTO_S * 8
    assert (told.path.state, told.path.size) == (State.COMPLETE, 1404)
    assert len(told.probed) < len(untold.probed)
    assert 1404 - 8 < untold.path.size <= 1404


@given(st.integers(0, 70_000))
def test_a_router_that_lies_changes_nothing_for_long(size: int) -> None:
    link = Link(1500)
    link.search()
    step = link.path.handle_too_big(size, Instant(link.now))
    believed = 576 <= size < MOST
    assert (step.lost_since is not None) == believed
    assert link.path.undecided == believed, "meanwhile what is too large is carried in pieces"
    link.run()
    assert (link.path.state, link.path.size) == (State.COMPLETE, MOST)
    if believed:
        assert link.path.handle_too_big(size, Instant(link.now)) == Step(), "and is not heard again"
        assert link.path.next_timeout() is None


def test_a_router_that_is_right_is_found_to_be() -> None:
    link = Link(1500)
    link.search()
    link.mtu = 1380
    link.take(link.path.handle_too_big(1380, Instant(link.now)))
    link.run()
    assert (link.path.state, link.path.size) == (State.COMPLETE, 1380)


def test_full_datagrams_are_watched_and_a_black_hole_is_found() -> None:
    link = Link(1500)
    link.search()
    confirmed_at = link.now
    link.full_datagram()
    assert link.path.next_timeout() is None, "not so soon"
    link.mtu, link.now = 1350, link.now + POLICY.mtu_confirm_s
    link.full_datagram()
    assert link.path.state is State.COMPLETE
    assert 1342 < link.path.size <= 1350
    # What left since it was last known to arrive is asked for: at the first doubt, and at the end.
    assert link.lost_since == [confirmed_at, confirmed_at]


def test_a_watched_path_that_is_well_stays_so() -> None:
    link = Link(1500)
    link.search()
    for _ in range(5):
        link.now += POLICY.mtu_confirm_s
        link.full_datagram()
    assert link.probed == [MTU_BASE, *[MOST] * 6]
    assert not link.lost_since
    assert link.path.size == MOST


def test_silence_is_no_black_hole() -> None:
    link = Link(1500)
    link.search()
    link.now += POLICY.mtu_confirm_s
    link.silent = True
    link.full_datagram()
    assert (link.path.state, link.path.size) == (State.COMPLETE, MOST)


def test_a_search_in_silence_says_nothing_and_is_made_again() -> None:
    link = Link(1500, silent=True)
    link.want()
    link.run()
    assert (link.path.state, link.path.undecided) == (State.BASE, True)
    link.want()
    assert link.path.next_timeout() is None, "not at once"
    link.silent, link.now = False, link.now + POLICY.mtu_confirm_s
    link.search()
    assert link.path.size == MOST


def test_a_narrow_path_is_tried_again_ever_more_seldom() -> None:
    link = Link(1300)
    link.search()
    gaps = []
    for _ in range(9):
        begun = link.now
        while True:
            link.want()
            if link.path.next_timeout() is not None:
                break
            link.now += 1.0
        gaps.append(link.now - begun)
        link.run()
    assert gaps[0] == POLICY.mtu_raise_s
    assert gaps == sorted(gaps)
    assert gaps[-1] == POLICY.mtu_raise_max_s
    assert not link.path.undecided, "the size is known all the while"
    link.mtu, link.now = 1500, link.now + POLICY.mtu_raise_max_s
    link.search()
    assert link.path.size == MOST


def test_where_not_even_the_base_passes_routers_have_to_cut() -> None:
    """Also where the peer is of a version that knows no probes."""
    link = Link(1000)
    link.want()
    link.run()
    assert link.path.state is State.ERROR
    assert not link.path.narrow
    assert link.path.whole_max < 0
    link.mtu, link.now = 1500, link.now + POLICY.mtu_raise_s
    link.full_datagram()
    assert (link.path.state, link.path.size) == (State.COMPLETE, MOST)


def test_our_own_link_is_believed() -> None:
    link = Link(1450)
    link.want()
    link.take(link.path.handle_timeout(Instant(link.now), RTO_S, None))
    link.path.handle_link(1450, Instant(link.now))
    link.run()
    assert (link.path.state, link.path.size) == (State.COMPLETE, 1450)
    assert max(link.probed) == MOST
    assert set(link.probed) == {MTU_BASE, 1450, MOST}

    link.mtu = 1400
    link.path.handle_link(1400, Instant(link.now))
    assert link.path.size == MTU_BASE
    link.run()
    assert link.path.size == 1400


def test_a_small_tun0_needs_one_size() -> None:
    link = Link(1500, tun_mtu=1200)
    assert not link.path.narrow
    assert link.path.size == 1200 + 28 + TCP_OVERHEAD


@given(st.binary(max_size=8))
def test_foreign_answers_are_nobodys(data: bytes) -> None:
    link = Link(1500)
    link.want()
    assert not link.path.handle_answer(data, Instant(link.now))


def test_paths_are_few_and_each_is_its_own() -> None:
    paths = PathMtus(POLICY, Random(1).randbytes)
    first = paths.path(V4, None, TUN_MTU)
    assert paths.path(V4, None, TUN_MTU) is first
    assert paths.path(V4, "192.0.2.9", TUN_MTU) is not first
    assert paths.path(V4, None, TUN_MTU) is first
    for number in range(100):
        paths.path(Locator("192.0.2.7", 1000 + number), None, TUN_MTU)
    assert paths.path(V4, None, TUN_MTU) is not first
    paths.path(V4, None, TUN_MTU).want(Instant(5.0))
    assert paths.next_timeout() == 5.0
    paths.forget()
    assert paths.next_timeout() is None

"""The judge of numbered datagrams sees what it is for."""

from __future__ import annotations

from tests.lab.apps.numbered import LENGTHS, SOON_NS, judge

from vipnet.lab.impairment import Drop

LENGTH = min(LENGTHS)
SENT_NS = [number * 5_000_000 for number in range(100)]


def drop(at_ns: int, counter: int, host: str = "a", length: int = LENGTH) -> Drop:
    return Drop(at_ns, host, 1, "loss", length, index=7, counter=counter)


def test_what_the_network_lost_is_explained() -> None:
    received = [number for number in range(100) if number != 10]
    verdict = judge(SENT_NS, received, "a", [drop(SENT_NS[10] + 1, 10)])
    assert (verdict.lost, verdict.logged, verdict.duplicated, verdict.unexplained) == (1, 1, 0, ())


def test_other_losses_explain_nothing() -> None:
    received = [number for number in range(100) if number != 10]
    at_ns = SENT_NS[10]
    for other in (
        drop(at_ns + 1, 10, host="b"),
        drop(at_ns + 1, 10, length=LENGTH + 1),
        drop(at_ns - 1, 10),
        drop(at_ns + SOON_NS + 1, 10),
    ):
        assert judge(SENT_NS, received, "a", [other]).unexplained == (at_ns,), other


def test_a_datagram_that_is_lost_twice_is_one() -> None:
    verdict = judge(SENT_NS, range(2, 100), "a", [drop(SENT_NS[1] + 1, 1), drop(SENT_NS[1] + 2, 1)])
    assert (verdict.lost, verdict.logged, len(verdict.unexplained)) == (2, 1, 1)


def test_a_second_arrival_is_a_duplicate() -> None:
    assert judge(SENT_NS, [*range(100), 5], "a", []).duplicated == 1

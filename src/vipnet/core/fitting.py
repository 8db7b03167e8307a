"""Packets that are too large for their path: made smaller, carried all the same, or answered.

TCP with its checksum begun   cut into smaller segments: nobody notices
without DF                    fragmented, inside of the tunnel: that works where fragments
                              of datagrams are dropped, and takes only sizes that are known
with DF                       carried, in fragments of the datagram, while the size is not known
                              and for a moment after; then answered: fragmentation needed (RFC 1191)
"""

from __future__ import annotations

from collections.abc import Sequence

from vipnet.core.icmp import IcmpAnswers
from vipnet.core.outputs import Output
from vipnet.core.pathmtu import PathMtu
from vipnet.policy import Policy
from vipnet.types import Instant
from vipnet.wire.fragment import fragments, may_fragment
from vipnet.wire.inner import Unreachable
from vipnet.wire.offload import Packet, complete_checksum
from vipnet.wire.tcp import recut


def fit(
    path: PathMtu, packets: Sequence[Packet], icmp: IcmpAnswers, policy: Policy, now: Instant
) -> tuple[list[Packet], list[Output]]:
    """What is to be sealed in the place of PACKETS, and answers to applications."""
    size_max = path.inner_max
    fitting: list[Packet] = []
    answers: list[Output] = []
    for packet in packets:
        if len(packet.data) <= size_max:
            fitting.append(packet)
            continue
        smaller = None if packet.offload is None else recut(packet, size_max)
        if smaller is packet:
            fitting.append(packet)
            continue
        path.want(now)
        if smaller is not None:
            fitting.append(smaller)
        elif may_fragment(packet.data):
            fitting += [Packet(piece) for piece in fragments(_complete(packet), size_max)]
        else:
            if not path.undecided:
                answers += _answer(path, packet, icmp, now)
            if path.undecided or _is_news(path, policy, now):
                fitting.append(packet)
    return fitting, answers


def _answer(path: PathMtu, packet: Packet, icmp: IcmpAnswers, now: Instant) -> list[Output]:
    if path.told_at is None:
        path.told_at = now
    return icmp.unreachable(bytes(packet.data), Unreachable.FRAGMENTATION_NEEDED, now, mtu=path.inner_max)


def _is_news(path: PathMtu, policy: Policy, now: Instant) -> bool:
    """Whether packets may have left before their sender could know: those a move must not lose."""
    return path.told_at is not None and now - path.told_at < policy.mtu_told_s


def _complete(packet: Packet) -> bytes | memoryview:
    return packet.data if packet.offload is None else complete_checksum(packet.data, packet.offload)

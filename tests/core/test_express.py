"""The short way: what takes it, what does not, and that nobody can tell the difference."""

from __future__ import annotations

import struct

import pytest
from tests.core.pairs import ELSEWHERE, locator, meet, pair, peer_at, seal, session_at
from tests.core.test_opening import in_room
from tests.sim.network import Network, SimHost, ipv4
from tests.sim.scenario import Scenario
from tests.wire.test_tcp import offload_of, tcp

from vipnet.core import express
from vipnet.core.express import Express, lane_of
from vipnet.core.outputs import Deliver, PathAnswered, Transmit
from vipnet.types import Instant
from vipnet.wire.control import Keepalive, PathChallenge
from vipnet.wire.datagram import KIND_IPV4, KIND_PARTIAL
from vipnet.wire.inner import PROTOCOL_TCP
from vipnet.wire.offload import CHECKSUM_FIELD, Offload, Packet


@pytest.mark.parametrize("seed", range(12))
def test_the_short_way_and_the_long_one_are_the_same_to_all(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    short = Scenario(seed)
    short.run(steps=20)
    monkeypatch.setattr(Express, "send", lambda *_: None)
    monkeypatch.setattr(Express, "send_several", lambda _, packets, __: ([], packets))
    monkeypatch.setattr(Express, "receive", lambda *_: None)
    monkeypatch.setattr(Express, "receive_several", lambda *_: [])
    long = Scenario(seed)
    long.run(steps=20)
    assert short.properties.lanes > 0 == long.properties.lanes
    assert short.net.trace == long.net.trace


def between(a: SimHost, b: SimHost, body: bytes) -> bytes:
    """A packet from A's application to B's."""
    binding = peer_at(a, b).binding
    assert binding is not None
    return ipv4(binding.local_token, binding.remote_token, body)


def sent_short(a: SimHost, packet: Packet) -> Transmit | None:
    sent = a.node.express.send(packet, a.net.now)
    a.node.express.settle()
    return sent


def test_a_small_packet_goes_and_arrives() -> None:
    a, b = pair(Network(1))
    packet, counter = between(a, b, b"small"), session_at(a, b).sent
    before = peer_at(a, b).tx_bytes, peer_at(b, a).rx_bytes
    sent = sent_short(a, Packet(packet))
    assert sent is not None
    assert (sent.destination, session_at(a, b).sent) == (locator(b), counter + 1)
    assert b.node.express.receive(memoryview(sent.payload), locator(a), b.net.now) == Deliver(packet)
    b.node.express.settle()
    size = len(sent.payload)
    assert (peer_at(a, b).tx_bytes, peer_at(b, a).rx_bytes) == (before[0] + size, before[1] + size)
    assert peer_at(b, a).last_traffic == b.net.now


def test_nothing_is_delivered_twice() -> None:
    a, b = pair(Network(2))
    sent = sent_short(a, Packet(between(a, b, b"once")))
    assert sent is not None
    (first,) = b.node.handle_datagrams(memoryview(sent.payload), len(sent.payload), locator(a), b.net.now)
    (again,) = b.node.handle_datagrams(memoryview(sent.payload), len(sent.payload), locator(a), b.net.now)
    assert isinstance(first, Deliver)
    assert "replayed" in str(again)


def test_what_passes_before_it_is_settled_is_noted_as_if_each_had_been() -> None:
    """Three questions, two answers: what is unanswered, and since when, decides when a path is doubted."""
    at_once, later = (pair(Network(14)) for _ in range(2))
    for (a, b), notes_each in ((at_once, True), (later, False)):
        for number in range(3):
            a.net.run_for(0.0001)
            for sender, receiver in ((a, b), (b, a)) if number < 2 else ((a, b),):
                packet = Packet(between(sender, receiver, b"%d" % number))
                sent = sender.node.express.send(packet, a.net.now)
                assert sent is not None
                received = receiver.node.express.receive(bytes(sent.payload), locator(sender), a.net.now)
                assert received == Deliver(bytes(packet.data))
                if notes_each:
                    sender.node.express.settle()
                    receiver.node.express.settle()
        a.node.express.settle()
        b.node.express.settle()
    for index in (0, 1):
        one, other = at_once[index], later[index]
        assert accounts(one, at_once[1 - index]) == accounts(other, later[1 - index])


def accounts(host: SimHost, other: SimHost) -> dict[str, object]:
    peer = peer_at(host, other)
    return {
        "bytes": (peer.tx_bytes, peer.rx_bytes),
        "heard": (peer.last_traffic, peer.current_heard, peer.data_heard, peer.mapping.last_heard),
        "liveness": {name: at for name, at in vars(peer.liveness).items() if name.endswith(("_at", "_from"))},
        "stash": [(sent.counter, sent.sent_at) for sent in peer.stash],
        "next": host.node.next_timeout(),
    }


SEGMENTS, SIZE = 20, 1300


def widened(a: SimHost, b: SimHost) -> tuple[SimHost, SimHost]:
    """A and B, once a has seen that full datagrams arrive."""
    lane = lane_of(peer_at(a, b), a.net.now)
    assert lane is not None
    udp = between(a, b, bytes(SIZE + 50))
    a._carry_out(a.node.handle_packets([Packet(udp)], a.net.now))
    a.net.run_until(lambda: lane.path.whole_max > SIZE + 100)
    lane.path.watch(a.net.now)
    a.net.run_for(0.2)  # what that asks is answered
    return a, b


def super_packet(a: SimHost, b: SimHost, fill: int = 0) -> Packet:
    packet = tcp(bytes([fill]) * SEGMENTS * SIZE)
    packet = packet[:12] + between(a, b, b"")[12:20] + packet[20:]
    return in_room(packet, offload_of(packet, SIZE))


def test_a_checksum_that_is_only_begun_stays_so() -> None:
    """A TCP acknowledgement as the kernel hands it over."""
    a, b = pair(Network(3))
    packet = bytearray(between(a, b, struct.pack("!HHIIBBHHH", 1, 2, 3, 4, 5 << 4, 16, 512, 0x1234, 0)))
    packet[9] = PROTOCOL_TCP
    begun = Offload(20, CHECKSUM_FIELD[PROTOCOL_TCP])
    sent = sent_short(a, Packet(bytes(packet), begun))
    assert sent is not None
    (delivered,) = b.node.handle_datagrams(memoryview(sent.payload), len(sent.payload), locator(a), b.net.now)
    assert delivered == Deliver(bytes(packet), begun)


@pytest.mark.parametrize(
    "offload",
    [Offload(20, 16, 100), Offload(24, 16), Offload(20, 6)],
    ids=["to be cut", "elsewhere", "another protocol's"],
)
def test_any_other_work_left_takes_the_long_way(offload: Offload) -> None:
    a, b = pair(Network(4))
    packet = bytearray(between(a, b, bytes(40)))
    packet[9] = PROTOCOL_TCP
    assert a.node.express.send(Packet(bytes(packet), offload), a.net.now) is None


def test_what_is_large_or_for_nobody_takes_the_long_way() -> None:
    a, b = pair(Network(5))
    for packet in (
        between(a, b, bytes(express.SMALL)),
        between(b, a, b"not our address"),
        between(a, b, b"cut off")[:-1],
        b"",
    ):
        assert a.node.express.send(Packet(packet), a.net.now) is None


def test_a_forged_datagram_is_refused_and_changes_nothing() -> None:
    a, b = pair(Network(6))
    sent = sent_short(a, Packet(between(a, b, b"genuine")))
    assert sent is not None
    forged = bytearray(sent.payload)
    forged[-1] ^= 1
    highest = session_at(b, a).window.highest
    (refused,) = b.node.handle_datagrams(bytes(forged), len(forged), locator(a), b.net.now)
    assert "verify" in str(refused)
    assert session_at(b, a).window.highest == highest
    (delivered,) = b.node.handle_datagrams(memoryview(sent.payload), len(sent.payload), locator(a), b.net.now)
    assert isinstance(delivered, Deliver)


def test_a_packet_from_another_place_takes_the_long_way() -> None:
    a, b = pair(Network(7))
    sent = sent_short(a, Packet(between(a, b, b"from afar")))
    assert sent is not None
    assert b.node.express.receive(memoryview(sent.payload), ELSEWHERE, b.net.now) is None


def test_a_message_of_the_protocol_is_heard() -> None:
    net = Network(8)
    a, b = pair(net)
    keepalive = seal(a, b, Keepalive())
    assert b.node.express.receive(memoryview(keepalive), locator(a), net.now) is None
    assert b.node.handle_datagrams(keepalive, len(keepalive), locator(a), net.now) == []
    challenge = seal(a, b, PathChallenge(bytes(8), locator(b)))
    answers = b.node.handle_datagrams(challenge, len(challenge), locator(a), net.now)
    assert any(isinstance(answer, Transmit) for answer in answers)
    assert not any(isinstance(answer, PathAnswered) for answer in answers)


def test_what_is_due_goes_before() -> None:
    """The peer is where it does not say: every now and then it is asked where it says."""
    a, b = pair(Network(10))
    peer, now = peer_at(a, b), a.net.now
    peer.mapping.locators, peer.last_traffic = (ELSEWHERE,), now
    for ago_s, due in ((1.0, False), (5.0, True), (60.0, True)):
        peer.listed_asked_at = Instant(now - ago_s)
        lane = lane_of(peer, now)
        assert lane is None if due else lane is not None and now < lane.until < now + 5


def test_after_a_move_the_long_way_is_taken_until_all_is_well() -> None:
    net = Network(9)
    a, b = pair(net)
    packet = Packet(between(b, a, b"to where a is"))
    first = sent_short(b, packet)
    assert first is not None
    a.move_to("198.51.100.7")
    net.run_until(lambda: peer_at(b, a).mapping.current == locator(a))
    meet(net, a, b)
    second = sent_short(b, packet)
    assert second is not None
    assert (first.destination.host, second.destination) != ("198.51.100.7", first.destination)
    assert second.destination == locator(a)


# --- trains, and a few small ones


def received_short(host: SimHost, other: SimHost, sent: Transmit) -> list[bytes]:
    """What HOST delivers at once of what OTHER has SENT."""
    size = sent.segment_size or len(sent.payload)
    delivered = host.node.express.receive_several(
        memoryview(sent.payload), size, locator(other), host.net.now
    )
    host.node.express.settle()
    return [bytes(one.packet) for one in delivered]


def received_long(host: SimHost, other: SimHost, payload: bytes, size: int) -> list[bytes]:
    outputs = host.node.receive_long_way(payload, size, locator(other), host.net.now)
    return [bytes(one.packet) for one in outputs if isinstance(one, Deliver)]


def test_both_ways_of_a_train_are_noted_alike() -> None:
    short, long = (widened(*pair(Network(15))) for _ in range(2))
    for number in range(3):
        for (a, b), is_short in ((short, True), (long, False)):
            a.net.run_for(0.01)
            packet = super_packet(a, b, number)
            if is_short:
                (sent,), rest = a.node.express.send_several([packet], a.net.now)
                assert not rest
                (delivered,) = received_short(b, a, sent)
            else:
                (output,) = a.node.send_long_way([packet], a.net.now)
                assert isinstance(output, Transmit)
                assert output.segment_size is not None
                (delivered,) = received_long(b, a, bytes(output.payload), output.segment_size)
            assert delivered[40:] == bytes([number]) * SEGMENTS * SIZE
    for index in (0, 1):
        one, other = (accounts(hosts[index], hosts[1 - index]) for hosts in (short, long))
        assert one == other
    flows = [peer_at(*hosts).flows for hosts in (short, long)]
    assert [len(one) for one in flows] == [1, 1]
    windows = [session_at(b, a).window.report(9) for a, b in (short, long)]
    assert windows[0] == windows[1]


def test_what_came_is_noted_though_its_memory_is_used_again() -> None:
    """An acknowledgement in a train, and another train before it is noted."""
    a, b = widened(*pair(Network(24)))
    ours = bytearray(tcp(b"unacknowledged"))
    ours[12:20], ours[20:24] = between(b, a, b"")[12:20], struct.pack("!HH", 2000, 1000)
    ours[24:28] = (5 - len(b"unacknowledged")).to_bytes(4, "big", signed=True)
    b.node.send_long_way([Packet(bytes(ours), offload_of(bytes(ours)))], b.net.now)
    flows = peer_at(b, a).flows
    assert len(flows) == 1
    acknowledges, says_nothing = (super_packet(a, b) for _ in range(2))
    says_nothing.writable()[28:32] = bytes(4)
    for packet in (acknowledges, says_nothing):
        (sent,), _ = a.node.express.send_several([packet], a.net.now)
        assert sent.segment_size is not None
        payload = memoryview(sent.payload)
        assert b.node.express.receive_several(payload, sent.segment_size, locator(a), b.net.now)
    b.node.express.settle()
    assert len(flows) == 0


def test_a_train_that_is_too_large_for_what_is_known_of_the_path_takes_the_long_way() -> None:
    a, b = pair(Network(16))
    counter = session_at(a, b).sent
    assert a.node.express.send_several([super_packet(a, b)], a.net.now)[0] == []
    assert session_at(a, b).sent == counter
    widened(a, b)
    assert len(a.node.express.send_several([super_packet(a, b)], a.net.now)[0]) == 1


def test_that_full_datagrams_leave_is_noted_every_now_and_then() -> None:
    a, b = widened(*pair(Network(17)))
    lane = lane_of(peer_at(a, b), a.net.now)
    assert lane is not None
    lane.path.watch_at = a.net.now
    assert a.node.express.send_several([super_packet(a, b)], a.net.now)[0] == []
    a.node.send_long_way([super_packet(a, b)], a.net.now)
    assert lane.path.watch_at > a.net.now
    assert len(a.node.express.send_several([super_packet(a, b)], a.net.now)[0]) == 1


@pytest.mark.parametrize("at", [3, 700, 20_000, -1], ids=["header", "piece", "later piece", "end"])
def test_of_a_train_that_was_changed_the_rest_arrives(at: int) -> None:
    a, b = widened(*pair(Network(18)))
    (sent,), _ = a.node.express.send_several([super_packet(a, b)], a.net.now)
    assert sent.segment_size is not None
    changed = bytearray(sent.payload)
    changed[at] ^= 1
    highest = session_at(b, a).window.highest
    payload = memoryview(changed)
    assert b.node.express.receive_several(payload, sent.segment_size, locator(a), b.net.now) == []
    assert session_at(b, a).window.highest == highest
    arrived = b"".join(packet[40:] for packet in received_long(b, a, bytes(changed), sent.segment_size))
    whole = SEGMENTS - (at > 0)
    assert len(arrived) == (whole if at != 3 else SEGMENTS - 1) * SIZE
    assert received_short(b, a, sent) == []


def test_a_train_from_another_place_or_again_takes_the_long_way() -> None:
    a, b = widened(*pair(Network(19)))
    (sent,), _ = a.node.express.send_several([super_packet(a, b)], a.net.now)
    assert sent.segment_size is not None
    payload = memoryview(sent.payload)
    assert b.node.express.receive_several(payload, sent.segment_size, ELSEWHERE, b.net.now) == []
    assert len(received_short(b, a, sent)) == 1
    assert received_short(b, a, sent) == []
    assert received_long(b, a, bytes(sent.payload), sent.segment_size) == []


def test_a_train_with_another_pairs_tokens_is_refused() -> None:
    a, b = widened(*pair(Network(20)))
    peer_at(b, a).inbound_addresses = bytes(8)
    (sent,), _ = a.node.express.send_several([super_packet(a, b)], a.net.now)
    assert received_short(b, a, sent) == []
    assert sent.segment_size is not None
    (refused,) = b.node.receive_long_way(bytes(sent.payload), sent.segment_size, locator(a), b.net.now)
    assert "not this pair's tokens" in str(refused)


@pytest.mark.parametrize(("count", "at_once"), [(2, True), (8, True), (9, False)])
def test_a_few_small_ones_that_came_together(count: int, at_once: bool) -> None:
    a, b = pair(Network(21))
    packets = [Packet(between(a, b, b"%d" % number)) for number in range(count)]
    none, rest = a.node.express.send_several(packets, a.net.now)
    assert (none, rest) == ([], packets)
    (sent,) = a.node.send_long_way(packets, a.net.now)
    assert isinstance(sent, Transmit)
    delivered = received_short(b, a, sent)
    assert delivered == ([bytes(packet.data) for packet in packets] if at_once else [])
    assert session_at(b, a).window.is_fresh(session_at(a, b).sent - 1) is not at_once


def test_of_a_few_of_which_one_is_forged_none_is_taken_at_once() -> None:
    a, b = pair(Network(22))
    packets = [Packet(between(a, b, b"%d" % number)) for number in range(3)]
    (sent,) = a.node.send_long_way(packets, a.net.now)
    assert isinstance(sent, Transmit)
    assert sent.segment_size is not None
    for at in (-1, sent.segment_size + 11):  # the last one's tag, the second one's counter
        forged = bytearray(sent.payload)
        forged[at] ^= 1
        before = session_at(b, a).window.report(9)
        assert b.node.express.receive_several(bytes(forged), sent.segment_size, locator(a), b.net.now) == []
        assert session_at(b, a).window.report(9) == before
    assert len(received_long(b, a, bytes(forged), sent.segment_size)) == 2


@pytest.mark.parametrize("size", [1, 11, 12, 28, 29])
def test_behind_a_genuine_one_anything_may_stand(size: int) -> None:
    """UDP_GRO lets what is shorter end what came together, and anybody can forge where it comes from."""
    a, b = pair(Network(25))
    sent = sent_short(a, Packet(between(a, b, bytes(20))))
    assert sent is not None
    data, stride = bytes(sent.payload) + bytes(size), len(sent.payload)
    assert b.node.express.receive_several(data, stride, locator(a), b.net.now) == []
    outputs = b.node.handle_datagrams(data, stride, locator(a), b.net.now)
    assert [isinstance(one, Deliver) for one in outputs] == [True, False]


@pytest.mark.parametrize("kind", [KIND_IPV4, KIND_PARTIAL])
@pytest.mark.parametrize("size", [0, 1, 9, 10, 19, 20, 38])
def test_a_peer_may_seal_what_is_no_packet(size: int, kind: int) -> None:
    a, b = pair(Network(26))
    session = session_at(a, b)
    first = session.seal(between(a, b, bytes(40)), KIND_IPV4)
    data = first + session.seal(between(a, b, bytes(19))[:size], kind)
    assert b.node.express.receive_several(data, len(first), locator(a), b.net.now) == []
    assert len(received_long(b, a, data, len(first))) == 1


def test_acknowledgements_that_are_superseded_do_not_leave() -> None:
    a, b = pair(Network(23))
    acks = []
    for number in (100, 200, 300):
        packet = bytearray(tcp(b""))
        packet[12:20], packet[28:32] = between(a, b, b"")[12:20], number.to_bytes(4, "big")
        acks.append(Packet(bytes(packet), offload_of(bytes(packet))))
    sent = a.node.handle_packets(acks, a.net.now)
    assert len(sent) == 1
    assert isinstance(sent[0], Transmit)
    (delivered,) = b.node.handle_datagrams(
        bytes(sent[0].payload), len(sent[0].payload), locator(a), b.net.now
    )
    assert isinstance(delivered, Deliver)
    assert delivered.packet == acks[-1].data

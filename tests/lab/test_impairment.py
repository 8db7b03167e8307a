from __future__ import annotations

import struct
from ipaddress import ip_address

import dpkt
from hypothesis import given
from hypothesis import strategies as st

from vipnet.lab.impairment import Drop, Impairment, describe, is_impaired

A, B = ip_address("10.201.1.10").packed, ip_address("10.201.2.20").packed
A6, B6 = ip_address("fd00:201:1::10").packed, ip_address("fd00:201:2::20").packed
MAC = bytes(6)


def ethernet(packet: dpkt.ip.IP | dpkt.ip6.IP6 | dpkt.arp.ARP, kind: int) -> bytes:
    return bytes(dpkt.ethernet.Ethernet(dst=MAC, src=MAC, type=kind, data=packet))


def ipv4(transport: dpkt.Packet, protocol: int) -> bytes:
    packet = dpkt.ip.IP(src=A, dst=B, p=protocol, data=transport)
    return ethernet(packet, dpkt.ethernet.ETH_TYPE_IP)


def ipv6(transport: dpkt.Packet, protocol: int) -> bytes:
    size = len(bytes(transport))
    packet = dpkt.ip6.IP6(src=A6, dst=B6, nxt=protocol, hlim=64, plen=size, data=transport)
    packet.extension_hdrs = {}
    return ethernet(packet, dpkt.ethernet.ETH_TYPE_IP6)


def udp(payload: bytes, sport: int = 5847) -> dpkt.udp.UDP:
    return dpkt.udp.UDP(sport=sport, dport=5847, ulen=8 + len(payload), data=payload)


SEALED = struct.pack("!IQ", 7, 2**40) + bytes(60)


# --- late, and lost


def fates(seed: int, loss: float, count: int = 2000) -> list[bool]:
    line = Impairment(0, loss, seed)
    return [line.handle_frame(b"x", 0, 0) for _ in range(count)]


def test_a_seed_repeats_what_is_lost() -> None:
    assert fates(1, 0.05) == fates(1, 0.05)
    assert fates(1, 0.05) != fates(2, 0.05)


def test_as_many_are_lost_as_ordered() -> None:
    assert 50 < fates(1, 0.05).count(False) < 150
    assert all(fates(1, 0.0))
    assert not any(fates(1, 1.0))


def test_what_is_not_lost_comes_late_and_in_order() -> None:
    line = Impairment(20, 0.0, 0)
    assert line.next_due_ns is None
    for number in range(3):
        line.handle_frame(bytes([number]), number, number)
    assert line.next_due_ns == 20
    assert line.take_due(19) == []
    assert line.take_due(21) == [(0, b"\0"), (1, b"\1")]
    assert line.take_due(1000) == [(2, b"\2")]
    assert line.next_due_ns is None


def test_what_finds_neighbours_is_spared() -> None:
    arp = dpkt.arp.ARP(sha=MAC, spa=A, tha=MAC, tpa=B)
    assert not is_impaired(ethernet(arp, dpkt.ethernet.ETH_TYPE_ARP))
    for kind in (133, 134, 135, 136, 137):
        assert not is_impaired(ipv6(dpkt.icmp6.ICMP6(type=kind, data=bytes(20)), 58)), kind
    assert is_impaired(ipv6(dpkt.icmp6.ICMP6(type=128, data=bytes(20)), 58)), "ping"
    assert is_impaired(ipv6(udp(SEALED), 17))
    assert is_impaired(ipv4(udp(SEALED), 17))


# --- written down


def test_a_sealed_datagram_is_known_by_index_and_counter() -> None:
    drop = describe(ipv4(udp(SEALED, sport=40_000), 17), "a", 1, "loss", 5)
    assert drop == Drop(
        5, "a", 1, "loss", 28 + len(SEALED), "10.201.1.10", "10.201.2.20", 17, 40_000, 5847, 7, 2**40
    )
    drop = describe(ipv6(udp(SEALED), 17), "b", 2, "loss", 5)
    assert (drop.length, drop.source, drop.index) == (48 + len(SEALED), "fd00:201:1::10", 7)


def test_a_handshake_and_other_traffic_have_no_counter() -> None:
    handshake = describe(ipv4(udp(bytes(4) + SEALED), 17), "a", 1, "loss", 5)
    short = describe(ipv4(udp(b"\1" * 28), 17), "a", 1, "loss", 5)
    question = dpkt.udp.UDP(sport=5000, dport=53, ulen=8 + len(SEALED), data=SEALED)
    dns = describe(ipv4(question, 17), "a", 1, "loss", 5)
    assert [one.counter for one in (handshake, short, dns)] == [None] * 3
    assert dns.destination_port == 53


def test_tcp_has_ports_and_ping_has_none() -> None:
    tcp = describe(ipv4(dpkt.tcp.TCP(sport=1, dport=2), 6), "a", 1, "loss", 5)
    assert (tcp.protocol, tcp.source_port, tcp.destination_port) == (6, 1, 2)
    echo = describe(ipv4(dpkt.icmp.ICMP(type=8, data=bytes(8)), 1), "a", 1, "loss", 5)
    assert (echo.protocol, echo.source_port, echo.index) == (1, None, None)


@given(st.binary(min_size=14, max_size=200), st.sampled_from([b"\x08\x00", b"\x86\xdd", b"\x81\x00"]))
def test_whatever_is_lost_can_be_written_down(frame: bytes, kind: bytes) -> None:
    frame = frame[:12] + kind + frame[14:]
    is_impaired(frame)
    assert describe(frame, "a", 1, "refused", 5).host == "a"

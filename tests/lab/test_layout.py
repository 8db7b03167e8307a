from __future__ import annotations

from ipaddress import IPv4Network
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vipnet.core.tokens import candidates
from vipnet.errors import ConfigError
from vipnet.lab.layout import LabSpec, first_candidate, plan
from vipnet.lab.topology import port_name
from vipnet.types import Fqdn

ROOT = Path("/run/vipnet-lab")


def test_a_lab_is_as_in_the_paper() -> None:
    layout = plan(LabSpec(), ROOT)
    assert [(host.name, host.address(host.lan)) for host in layout.hosts] == [
        ("a.vipip.net", "10.201.1.10"),
        ("b.vipip.net", "10.201.2.20"),
    ]
    assert layout.netns("a") == "vipnet-lab-a"
    assert layout.directory == Path("/run/vipnet-lab/lab")


def test_the_largest_lab_has_no_address_and_no_port_twice() -> None:
    layout = plan(LabSpec(hosts=24, legacy=True), ROOT)
    labels = [host.label for host in layout.hosts]
    assert len(set(labels)) == 25
    assert "r" not in labels
    numbers = {
        host.address(1, renumbered=renumbered) for host in layout.hosts for renumbered in (False, True)
    }
    assert len(numbers) == 50
    assert all(int(number.rpartition(".")[2]) in range(2, 255) for number in numbers)


def test_the_legacy_host_is_c_and_has_no_vipnet() -> None:
    layout = plan(LabSpec(hosts=3, legacy=True), ROOT)
    assert [(host.label, host.vipnet) for host in layout.hosts] == [
        ("a", True),
        ("b", True),
        ("d", True),
        ("c", False),
    ]


def test_hosts_are_found_by_label_and_by_name() -> None:
    layout = plan(LabSpec(), ROOT)
    assert layout.host("b") is layout.host("b.vipip.net")
    with pytest.raises(ConfigError, match="no host 'x'; it has a, b"):
        layout.host("x")


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        (LabSpec(name=""), "--name"),
        (LabSpec(name="../x"), "--name"),
        (LabSpec(name="A"), "--name"),
        (LabSpec(name="-a"), "--name"),
        (LabSpec(name="x" * 25), "--name"),
        (LabSpec(hosts=1), "--hosts 1"),
        (LabSpec(hosts=25), "--hosts 25"),
        (LabSpec(subnet="240.0.0.1/4"), "--subnet 240.0.0.1/4"),
        (LabSpec(subnet="nonsense"), "--subnet nonsense"),
        (LabSpec(collide=True), "--hosts 3"),
        (LabSpec(collide=True, hosts=3), "--subnet 240.0.0.0/28"),
    ],
)
def test_what_cannot_be_is_said(spec: LabSpec, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        plan(spec, ROOT)


@pytest.mark.parametrize("subnet", ["240.0.0.0/28", "10.99.0.0/24", "240.0.0.0/16"])
def test_the_colliding_host_wants_the_token_of_b(subnet: str) -> None:
    layout = plan(LabSpec(hosts=3, collide=True, subnet=subnet), ROOT)
    last = layout.hosts[-1]
    assert last.label.startswith("d")
    assert last.label[1:].isdigit()
    network = IPv4Network(subnet)
    assert next(candidates(Fqdn(last.name), network)) == next(candidates(Fqdn("b.vipip.net"), network))


def test_the_longest_names_fit_interfaces() -> None:
    layout = plan(LabSpec(hosts=3, collide=True, subnet="240.0.0.0/12"), ROOT)
    assert all(len(f"{port_name(host, 2)}n") <= 15 for host in layout.hosts)


@given(
    st.from_regex(r"[a-z0-9]{1,20}\.[a-z]{2,9}", fullmatch=True),
    st.sampled_from(["240.0.0.0/4", "240.0.0.0/30", "255.255.254.0/22", "10.0.0.0/8"]),
)
def test_the_first_candidate_is_the_protocol_s(name: str, subnet: str) -> None:
    network = IPv4Network(subnet, strict=False)
    if int(network.network_address) >> 24 == 255:
        network = IPv4Network("248.0.0.0/5")
    assert first_candidate(name, network) == next(candidates(Fqdn(name), network))


def test_a_spec_survives_its_file() -> None:
    layout = plan(LabSpec(name="x", hosts=3, ipv6=True), ROOT)
    assert msgspec.json.decode(msgspec.json.encode(layout.spec), type=LabSpec) == layout.spec

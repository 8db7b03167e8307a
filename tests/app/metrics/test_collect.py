"""What Prometheus is told: every family of the table, by its conventions, with the daemon's own numbers."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import cast

import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.app.test_trusting import AT, A, B, Machine, now, text, with_machines
from tests.support import need

from vipnet import __version__
from vipnet.app.metrics.collect import Metrics
from vipnet.app.metrics.families import FAMILIES, PROCESS
from vipnet.app.nameservice import NameService
from vipnet.app.publishing import PublishLoop
from vipnet.core.outputs import LookupResult, MoveReport, PartnerMove
from vipnet.system.resolver import Resolver
from vipnet.types import Instant, Locator

PROMTOOL = Path(sys.prefix) / "debs/prometheus/usr/bin/promtool"
UNITS = ("seconds", "bytes")
Read = dict[tuple[str, ...], float]  # name and values of the labels, to the sample


class Names:
    """What of NameService is read."""

    def __init__(self) -> None:
        self.counters = {"dns_bogus": 2}
        self.answers = {"token": 5, "passed_on": 70, "failed": 1}


class Publishing:
    """What of PublishLoop is read."""

    def __init__(self) -> None:
        self.state, self.updates, self.succeeded_at = "ok", {"ok": 3, "failed": 1}, 0.0


class Deaf:
    """What of Resolver is read."""

    def __init__(self) -> None:
        self.counters = {"dns_overload": 0}


def metrics_of(one: Machine) -> Metrics:
    return Metrics(
        engine=one.engine,
        names=cast("NameService", Names()),
        resolver=cast("Resolver", Deaf()),
        publishing=cast("PublishLoop", Publishing()),
        state=lambda: "ready",
        offloads=lambda: {"tun": True, "udp_send": False, "udp_receive": False},
        suppressed=lambda: 4,
        now=now,
    )


def read(metrics: Metrics) -> Read:
    samples = {}
    for family in text_string_to_metric_families(metrics.text()):
        for sample in family.samples:
            key = (sample.name, *sample.labels.values())
            assert key not in samples
            samples[key] = sample.value
    return samples


def after_a_contact(tmp_path: Path, look: Callable[[Machine, Metrics], None]) -> None:
    """LOOK at a's metrics when it has spoken with b."""

    async def main(a: Machine, b: Machine) -> None:
        await a.do("trust_add", name=B, key=text(b.key), address=AT[B].host)
        await b.do("trust_add", name=A, key=text(a.key))
        await a.engine.bind(LookupResult(B))
        assert await a.engine.ping(B, 5.0) is not None
        look(a, metrics_of(a))

    with_machines(tmp_path, main)


def test_every_family_is_there_and_no_other(tmp_path: Path) -> None:
    def look(a: Machine, metrics: Metrics) -> None:
        families = {family.name: family for family in metrics.collect()}
        assert families.keys() == FAMILIES.keys()
        for name, family in families.items():
            assert (family.type, family.documentation) == (FAMILIES[name].kind, FAMILIES[name].help)
        told = {family.name for family in text_string_to_metric_families(metrics.text())}
        endings = {ending.removesuffix("_total") for ending in PROCESS}
        assert {name for name in told if name.startswith("process_")} == endings

    after_a_contact(tmp_path, look)


def test_the_numbers_are_the_daemons(tmp_path: Path) -> None:
    def look(a: Machine, metrics: Metrics) -> None:
        samples, peer = read(metrics), a.engine.node.peers[B]
        assert samples["vipnet_build_info", __version__] == 1
        assert samples["vipnet_state", "ready"] == 1
        assert samples["vipnet_state", "detached"] == 0
        assert samples["vipnet_locators",] == 1
        assert samples["vipnet_offload", "tun"] == 1
        assert samples["vipnet_peer_connected", B] == 1
        assert samples["vipnet_peer_receive_bytes_total", B] == peer.rx_bytes > 0
        assert samples["vipnet_peer_transmit_bytes_total", B] == peer.tx_bytes
        assert samples["vipnet_peer_rtt_seconds", B] == peer.rtt.srtt_s
        assert sum(samples["vipnet_sessions_total", who] for who in ("us", "peer")) == 1
        assert samples["vipnet_dns_answers_total", "passed_on"] == 70
        assert samples["vipnet_publish_updates_total", "failed"] == 1
        assert samples["vipnet_events_total", "dns_bogus"] == 2
        assert samples["vipnet_log_suppressed_lines_total",] == 4
        assert samples["vipnet_stash_bytes",] == 0
        assert samples["process_resident_memory_bytes",] > 2**20
        assert ("vipnet_peer_key_refused", B) not in samples

    after_a_contact(tmp_path, look)


def test_a_peer_that_was_never_heard_has_no_numbers_but_that_it_is_not_there(tmp_path: Path) -> None:
    async def main(a: Machine, b: Machine) -> None:
        await a.do("trust_add", name=B, key=text(b.key), address="192.0.2.99")
        assert [key for key in read(metrics_of(a)) if B in key] == [("vipnet_peer_connected", B)]

    with_machines(tmp_path, main)


def test_what_was_dropped_and_not_sent_has_its_reason(tmp_path: Path) -> None:
    def look(a: Machine, metrics: Metrics) -> None:
        a.engine.counters.update({"dropped_WireError": 3, "send_ENETUNREACH": 2, "tun_refused": 1})
        samples = read(metrics)
        assert samples["vipnet_datagrams_dropped_total", "WireError"] == 3
        assert samples["vipnet_send_errors_total", "ENETUNREACH"] == 2
        assert samples["vipnet_events_total", "tun_refused"] == 1
        events = {key[1] for key in samples if key[0] == "vipnet_events_total"}
        assert not any(event.startswith(("dropped_", "send_")) for event in events)

    after_a_contact(tmp_path, look)


HERE, THERE = (Locator("192.0.2.1", 5847),), (Locator("198.51.100.1", 5847),)


def move(number: int, *partners: PartnerMove, cause: str = "link") -> MoveReport:
    return MoveReport(number, cause, Instant(0.0), HERE, THERE, partners)


def test_moves_are_counted_once_whatever_their_reports_say_on_the_way(tmp_path: Path) -> None:
    async def main(a: Machine, b: Machine) -> None:
        metrics, history = metrics_of(a), a.engine.moves
        before = read(metrics)
        for number in range(200, 400):  # more than are kept
            history.add(move(number))
            history.add(move(number, PartnerMove(B, hint_ms=1.0)))
            read_between = number % 50 == 0 and read(metrics)
            last = PartnerMove(
                B, hint_ms=1.0, ack_ms=20.0, gap_ms=300.0, replayed=2, replayed_bytes=99, outcome="acked"
            )
            history.add(move(number, last))
            assert not read_between or read_between["vipnet_moves_total", "link"] == number - 199
        samples = read(metrics)
        assert samples["vipnet_moves_total", "link"] == 200
        assert samples["vipnet_moves_total", "start"] == before["vipnet_moves_total", "start"]
        assert samples["vipnet_move_partners_total", "acked"] == 200
        assert samples["vipnet_move_partners_total", "timeout"] == 0
        assert samples["vipnet_move_replayed_datagrams_total",] == 400
        assert samples["vipnet_move_replayed_bytes_total",] == 200 * 99
        ack, silence = "vipnet_move_ack_seconds", "vipnet_move_silence_seconds"
        assert samples[f"{ack}_bucket", "0.01"] == 0
        assert samples[f"{ack}_bucket", "0.025"] == samples[f"{ack}_bucket", "+Inf"] == 200
        assert samples[f"{ack}_sum",] == pytest.approx(200 * 0.02)
        assert samples[f"{silence}_bucket", "0.25"] == 0
        assert samples[f"{silence}_count",] == samples[f"{silence}_bucket", "0.5"] == 200

    with_machines(tmp_path, main)


def test_names_keep_prometheus_conventions() -> None:
    """prometheus.io/docs/practices/naming: base units at the end, `_total` by the kind alone."""
    for family in FAMILIES.values():
        assert family.name.startswith("vipnet_")
        assert not family.name.endswith(("_total", "_info", "_count", "_sum", "_bucket"))
        words = family.name.split("_")
        assert not {"ms", "milliseconds", "us", "kb", "mb", "percent", "minutes"} & set(words)
        assert all(word == words[-1] for word in words if word in UNITS)
        if family.kind == "histogram":
            assert words[-1] in UNITS
        assert family.help.endswith(".") or family.kind == "info"
        assert "|" not in family.help  # a table of Markdown


@pytest.mark.stack
def test_prometheus_own_judge_has_nothing_to_say(tmp_path: Path) -> None:
    need(PROMTOOL.exists(), "promtool (./run test-stack unpacks it)")

    def look(a: Machine, metrics: Metrics) -> None:
        a.engine.moves.add(move(99, PartnerMove(B, ack_ms=20.0, outcome="acked")))
        done = subprocess.run(
            [PROMTOOL, "check", "metrics"], input=metrics.text(), capture_output=True, text=True
        )
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")

    after_a_contact(tmp_path, look)


def test_a_daemon_that_nobody_asks_carries_neither_prometheus_nor_rich() -> None:
    program = "import sys, vipnet.app.daemon, vipnet.app.launch\n"
    program += (
        "print([m for m in ('prometheus_client', 'rich', 'vipnet.app.metrics.serve') if m in sys.modules])"
    )
    environment = {**os.environ, "PYTHONSAFEPATH": "1"}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment)
    assert (done.stdout, done.stderr) == ("[]\n", "")

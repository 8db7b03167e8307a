"""Every metric: names and units by Prometheus' conventions (prometheus.io/docs/practices/naming).

docs/observing.md has this table for people; a test holds one against the other:
`python -m vipnet.app.metrics.families` prints it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Literal

from msgspec import Struct

from vipnet.app.metrics.events import EVENTS

Kind = Literal["counter", "gauge", "histogram", "info"]
_SUFFIX: Final = {"counter": "_total", "info": "_info"}

STATES: Final = ("starting", "ready", "detached", "captive", "clock", "cloned-key", "stopping")
PUBLISH_STATES: Final = ("off", "ok", "pending", "waiting", "refused", "clock")
PEER_STATES: Final = ("active", "quiet", "idle", "moving", "shaking hands")


class Family(Struct, frozen=True):
    """One metric; NAME is without the ending that its kind has (`_total`, `_info`, `_bucket`)."""

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()

    @property
    def sample(self) -> str:
        """The name that queries use; a histogram's has `_bucket`, `_sum` or `_count` behind it."""
        return self.name + _SUFFIX.get(self.kind, "")


FAMILIES: Final = {
    family.name: family
    for family in (
        # --- the host
        Family("vipnet_build", "info", "1; the version that runs.", ("version",)),
        Family("vipnet_state", "gauge", "1 for the state that the host is in, 0 for the others.", ("state",)),
        Family("vipnet_locators", "gauge", "Addresses at which this host is reached now; 0: no network."),
        Family("vipnet_tun_mtu_bytes", "gauge", "Bytes of a packet that the virtual interface takes."),
        Family("vipnet_offload", "gauge", "1 where the kernel cuts, joins and sums up for us.", ("part",)),
        # --- partners
        Family("vipnet_peers", "gauge", "Peers that are known, by what is going on with them.", ("state",)),
        Family("vipnet_peer_connected", "gauge", "1 while there are keys with the peer.", ("peer",)),
        Family("vipnet_peer_receive_bytes", "counter", "Bytes of datagrams from the peer.", ("peer",)),
        Family("vipnet_peer_transmit_bytes", "counter", "Bytes of datagrams to the peer.", ("peer",)),
        Family("vipnet_peer_rtt_seconds", "gauge", "Smoothed round trip to the peer (RFC 6298).", ("peer",)),
        Family("vipnet_peer_path_mtu_bytes", "gauge", "Bytes of an IP packet that go whole.", ("peer",)),
        Family(
            "vipnet_peer_last_heard_timestamp_seconds",
            "gauge",
            "When the last authenticated datagram of the peer came, since 1970.",
            ("peer",),
        ),
        Family(
            "vipnet_peer_key_refused",
            "gauge",
            "1 when somebody has shown another key in the peer's name: `vipnet trust list`.",
            ("peer",),
        ),
        Family("vipnet_peer_key_cloned", "gauge", "1 while two machines have the peer's key.", ("peer",)),
        Family("vipnet_sessions", "counter", "Handshakes that led to keys, by who began.", ("begun_by",)),
        # --- moves
        Family("vipnet_moves", "counter", "Changes of this host's addresses, by cause.", ("cause",)),
        Family(
            "vipnet_move_partners",
            "counter",
            "Partners of moves by how they learned: acked (the hint), dns (both had moved), timeout (not).",
            ("outcome",),
        ),
        Family("vipnet_move_ack_seconds", "histogram", "From the change of address to a partner's ack."),
        Family(
            "vipnet_move_silence_seconds",
            "histogram",
            "How long nothing came from a partner that was sending while this host moved.",
        ),
        Family("vipnet_move_replayed_datagrams", "counter", "Datagrams that moves lost and that went again."),
        Family("vipnet_move_replayed_bytes", "counter", "Bytes of those."),
        Family("vipnet_move_dropped_datagrams", "counter", "What the stores had no room for in outages."),
        # --- names
        Family(
            "vipnet_dns_answers",
            "counter",
            "Questions of applications: token (a vipnet host), passed_on, failed (SERVFAIL).",
            ("answer",),
        ),
        Family("vipnet_publish_state", "gauge", "1 for the state of publishing, 0 for others.", ("state",)),
        Family("vipnet_publish_updates", "counter", "Updates of DNS: ok or failed.", ("outcome",)),
        Family(
            "vipnet_publish_last_success_timestamp_seconds",
            "gauge",
            "When the provider last took an update, since 1970; absent: not since the start.",
        ),
        # --- trouble
        Family("vipnet_datagrams_dropped", "counter", "Datagrams not accepted, by why.", ("reason",)),
        Family("vipnet_send_errors", "counter", "Datagrams that the kernel did not take.", ("error",)),
        Family("vipnet_events", "counter", "What else is worth counting: see the next table.", ("event",)),
        Family("vipnet_stash_bytes", "gauge", "Memory that holds datagrams for a replay."),
        Family("vipnet_log_suppressed_lines", "counter", "Lines that the log's pace has kept out."),
    )
}
# prometheus_client's ProcessCollector adds these.
PROCESS: Final = (
    "process_cpu_seconds_total",
    "process_max_fds",
    "process_open_fds",
    "process_resident_memory_bytes",
    "process_start_time_seconds",
    "process_virtual_memory_bytes",
)


def reference() -> Iterator[str]:
    """Markdown: a table of metrics, and one of events."""
    yield "| metric | kind | labels | meaning |"
    yield "|---|---|---|---|"
    for family in FAMILIES.values():
        labels = ", ".join(f"`{label}`" for label in family.labels)
        yield f"| `{family.sample}` | {family.kind} | {labels} | {family.help} |"
    yield ""
    yield "| `event` of `vipnet_events_total` | meaning |"
    yield "|---|---|"
    yield from (f"| `{event}` | {meaning} |" for event, meaning in EVENTS.items())


if __name__ == "__main__":
    print("\n".join(reference()))

"""What is counted beside traffic: `counters` of the status JSON, `vipnet_events_total` for Prometheus.

A test sees that each event that the source counts has its line here.
"""

from __future__ import annotations

from typing import Final

EVENTS: Final = {
    # --- strangers, and hosts that they claim to be
    "cookies_sent": "inits answered with a cookie, because there were many of late",
    "not_accepted": "handshakes of names that `[accept] from` does not allow",
    "not_called_back": "claimed names whose address in DNS did not answer a call back",
    "not_vouched_for": "claimed names for which DNS has another key, or none",
    "pending_inits_full": "handshakes of strangers dropped: too many waited for DNS already",
    # --- keys
    "cloned_key": "signs that two machines have a peer's key",
    "key_changed": "handshakes refused because a known peer showed another key",
    "late_key_rotation": "rotations announced under a key that is no longer the peer's",
    "own_key_cloned": "signs that another machine has this host's key",
    "previous_key": "handshakes under a key that the peer had before",
    "stale_init": "handshakes with a time that was used before: replays, or a peer that lost its clock",
    # --- tokens
    "foreign_source_address": "packets of applications from an address that the partner does not know",
    "token_refused": "candidates for tokens that were taken here",
    "wrong_token_message": "messages about tokens that came at the wrong time",
    # --- packets
    "not_ipv4": "packets of applications that are not IPv4",
    "refused_first_datagram": "sessions whose first datagram carried something that is refused",
    "too_big_ignored": "reports of small MTUs that were not looked at: too many in a second",
    "tun_refused": "packets that the virtual interface did not take",
    "unknown_kind": "datagrams of a kind that this version does not know",
    # --- moves and paths
    "backlog_refused": "packets that found no room while there was no path",
    "flows_refused": "segments of TCP that found no room for the case of an outage",
    "flows_restarted": "TCP connections started again behind an outage",
    "hint_out_of_order": "hints older than one that came before",
    "replayed": "sends of what a move had lost",
    "stash_pushed_out": "datagrams, but for bulk TCP, that were dropped though a move might have needed them",
    "unknown_path_response": "answers to challenges that are unknown, or too old",
    # --- names
    "dns_bogus": "names answered with SERVFAIL because their zone has signed something else",
    "dns_overload": "questions not answered: too many at once, of one program or in all",
    "dns_unreachable": "vipnet hosts answered with SERVFAIL because they could not be reached",
    "dns_unverified": "names answered with their real address because nobody said whether they have vipnet",
    "dns_upstream_failed": "questions that no resolver of the network answered",
    # --- the command line
    "ping_unread": "answers to `vipnet ping` that came when nobody waited",
}

"""Every number, with its unit and where it comes from.

Module constants belong to the protocol: both ends must agree on them.
`Policy` holds what one host may choose for itself.
"""

from __future__ import annotations

from typing import Final

from msgspec import Struct

PROTOCOL_VERSION: Final = 1
DEFAULT_PORT: Final = 5847
DEFAULT_SUBNET: Final = "240.0.0.0/4"  # reserved, never routed (RFC 1112 section 4)
DEFAULT_TUN_MTU: Final = 1420  # 1,500 - IPv6 40 - UDP 8 - 32 of a sealed TCP segment

MTU_BASE: Final = 1280  # bytes of an IP packet that every path is assumed to carry (RFC 8200 section 5)
TUN_MTU_MAX: Final = 8920  # bytes; jumbo frames of 9,000
TUN_OVERHEAD: Final = 80  # bytes; 1,500 - DEFAULT_TUN_MTU

MESSAGE_MAX: Final = 1200  # bytes of a control message; RFC 9000 section 14.1
INIT_SIZE: Final = 1200  # bytes of message 1: never shorter than its answer (RFC 9000 section 8.1)
LOCATORS_MAX: Final = 8  # a peer
OFFER_PAGE: Final = 8  # free addresses per name in one Offer
OFFER_MAX: Final = 256  # free addresses per name in all pages

REPLAY_WINDOW: Final = 65_536  # counters; a second of 64-byte datagrams at 30 Mbit/s
REKEY_AFTER_S: Final = 120.0  # WireGuard REKEY_AFTER_TIME
REKEY_AFTER_COUNT: Final = 2**22  # datagrams
REJECT_AFTER_S: Final = 180.0  # WireGuard REJECT_AFTER_TIME
REJECT_AFTER_COUNT: Final = 2**23  # datagrams; far below AES-GCM's bound (RFC 9001 section 6.6)
OLD_KEY_S: Final = 75.0  # a superseded key still opens: longer than the longest lease of 60 s
CHALLENGE_SIZE: Final = 8  # bytes; RFC 9000 section 8.2.1
AMPLIFICATION: Final = 3  # bytes sent per byte received to an unvalidated address (RFC 9000 section 8)
PARTNER_GRACE_BYTES: Final = 65_536  # a known partner's new, listed address gets this much on top


class Policy(Struct, frozen=True, kw_only=True):
    """What one host may choose; the defaults are the profile `default`."""

    lease_s: float = 60.0  # T of paper section 3.2; the value is ours
    hint_timeout_s: float = 0.5  # at most; paper section 4
    hint_timeout_fixed: bool = False  # profile paper: wait all of hint_timeout_s
    hint_timeout_min_s: float = 0.01
    hint_turn_s: float = 0.0001  # longer for each partner's hint and ack that are handled before
    hints: bool = True  # False: the ablation of the figures
    lookup_before_send: bool = False  # profile paper: an expired lease is looked up first (section 3.2)
    stores: bool = True  # profile paper: nothing is kept for a replay

    initial_rtt_s: float = 0.1  # before the first sample; a home link, not RFC 6298's second
    rto_min_s: float = 0.02
    handshake_retry_s: float = 0.25  # first retry after max(3 x SRTT, this), doubling ...
    handshake_retry_max_s: float = 5.0  # ... to this; WireGuard REKEY_TIMEOUT
    handshake_give_up_s: float = 90.0  # WireGuard REKEY_ATTEMPT_TIME
    keepalive_s: float = 0.2  # received data and sent nothing for so long
    unanswered_s: float = 1.0  # data unanswered for max(3 x SRTT, this): probe the path
    quiet_s: float = 1.0  # data was arriving and stopped for so long: the receiver probes
    quiet_retry_s: float = 0.25  # no answer in max(3 x SRTT, this): probe everywhere, and ask DNS
    quiet_search_s: tuple[float, ...] = (2.0, 4.0, 8.0)  # and again after these, then silence
    nat_keepalive_s: float = 0.0  # seconds between keepalives to active partners, 0: none
    probes: int = 3  # challenges before a path is dead
    probe_gap_min_s: float = 0.05
    lookup_retry_s: float = 0.005  # two-sided: ask again after 5, 10, 20, ... ms
    lookup_retry_max_s: float = 1.0
    lookup_idle_retry_s: float = 5.0  # after 15 s of asking, for as long as traffic wants it
    lookups_at_once: int = (
        32  # at least 2; for hints without an ack: a network without a way out must not flood DNS
    )
    lookup_wait_s: float = 0.1  # until one more may be asked
    resolve_timeout_s: float = 3.0  # a VIP name that cannot be reached: SERVFAIL after this

    mtu_probes: int = 3  # tries of a size; MAX_PROBES of RFC 8899 section 5.1.2
    mtu_wait_s: float = 0.1  # for the answer, at least; then twice and four times as long
    mtu_confirm_s: float = 1.0  # full datagrams go: see so often that they arrive; below stash_s
    mtu_raise_s: float = 10.0  # a narrow path may be a wider one later: look after this, doubling ...
    mtu_raise_max_s: float = 600.0  # ... to this; PMTU_RAISE_TIMER of RFC 8899 section 5.1.1
    mtu_deaf_s: float = 10.0  # a router said too little: believe none for so long
    mtu_told_s: float = 1.0  # packets that are too large are carried so long after the first answer

    queue_packets: int = 16_384  # packets kept a peer while there is no key or no path
    queue_bytes: int = 2**21
    stash_s: float = 2.0  # sealed datagrams are kept so long for a replay: until an outage is noticed
    outage_s: float = 60.0  # and so long while it lasts; below OLD_KEY_S, so that the peer still opens them
    stash_min_bytes: int = 2**21  # a peer: so much in any case, more only for what may be under way ...
    stash_bytes: int = 2**24  # ... up to this
    stash_total_bytes: int = 2**26
    flow_s: float = 60.0  # the oldest unacknowledged segment of a TCP connection is kept so long
    flows: int = 1024  # connections a peer whose segment is kept
    flows_bytes: int = 2**21  # of these segments a peer; within stash_total_bytes
    replay_margin_s: float = 0.1  # sealed so long before the last sign of life: not this move's loss
    replay_burst_bytes: int = 2**18  # sent again at once ...
    replay_burst_datagrams: int = 64  # ... and so many: hints and answers pass in between; the rest in
    replay_step_s: float = 0.002  # steps
    flush_burst_packets: int = 64  # of those that waited, sealed at once; about half a millisecond
    pending_inits: int = 64  # strangers' handshakes waiting for DNS to vouch for their name
    stranger_inits_per_s: int = 50  # above this: cookies (WireGuard section 5.3)
    old_key_s: float = 30 * 86_400.0  # a key of ours after a rotation: as long as a partner may be away
    old_keys: int = 4  # that are kept; each costs a hash for an init that is for none of them
    previous_keys: int = 16  # of a peer, none of which DNS can bring back
    previous_key_retry_s: float = 5.0  # to a peer that still greets with a previous key
    refused_cache_s: float = 60.0  # a name that DNS did not vouch for is not looked up again
    save_after_s: float = 5.0  # where a peer is, is on disk so long after its hint at the latest
    binding_s: float = 7 * 86_400.0  # renewed by every session
    reservations: int = 64  # at most, for hosts whose handshake is not confirmed
    reservation_s: float = 3600.0  # tokens that were promised but not accepted stay reserved
    token_retry_s: float = 0.25  # an unanswered Offer or Choose is sent again after this, doubling ...
    token_retry_max_s: float = 5.0  # ... to this, as for handshakes ...
    token_give_up_s: float = 90.0  # ... until this
    quarantine_s: float = 30 * 86_400.0  # a freed token is not given to another name


def paper_policy() -> Policy:
    """Section 3.2 and 4 of the paper to the letter, for its figures and for comparison."""
    return Policy(hint_timeout_fixed=True, lookup_before_send=True, stores=False)

"""Answers of a daemon, one of each shape."""

from __future__ import annotations

from typing import Any

PEER: dict[str, Any] = {
    "name": "b.vipip.net",
    "token": "240.17.4.9",
    "local_token": "241.2.3.4",
    "state": "active",
    "trust": "dns",
    "offered_key": None,
    "cloned_key": False,
    "locator": "10.201.2.20:5847",
    "path_mtu": 1480,
    "srtt_ms": 0.42,
    "lease_s": 57.5,
    "heard_s": 2.5,
    "rx_bytes": 1_234_567,
    "tx_bytes": 980,
    "last_move": None,
}

QUIET_PEER: dict[str, Any] = {
    "name": "c.vipip.net",
    "token": None,
    "local_token": None,
    "state": "idle",
    "trust": None,
    "offered_key": None,
    "cloned_key": False,
    "locator": None,
    "path_mtu": None,
    "srtt_ms": None,
    "lease_s": None,
    "heard_s": None,
    "rx_bytes": 0,
    "tx_bytes": 0,
    "last_move": None,
}

STATUS: dict[str, Any] = {
    "name": "a.vipip.net",
    "state": "ready",
    "version": "0.1.0",
    "uptime_s": 12_345.6,
    "tun": {"interface": "tun0", "token": "241.2.3.4", "subnet": "240.0.0.0/4", "mtu": 1420},
    "offloads": {"tun": True, "udp_send": True, "udp_receive": True},
    "wants_restart": [],
    "locators": ["10.201.1.10:5847"],
    "dns": {"listen": "127.0.0.47:53", "hook": "file"},
    "publish": {"provider": "rfc2136", "state": "ok", "address": "10.201.1.10", "error": None},
    "last_move": {
        "id": 1,
        "cause": "link",
        "at": 1764000123.25,
        "ago_s": 190.0,
        "old": ["10.201.2.10:5847"],
        "new": ["10.201.1.10:5847"],
        "dns_ms": 6.5,
        "partner_count": 3,
        "told_count": 2,
    },
    "peers": [PEER, QUIET_PEER],
    "counters": {"token_refused": 0, "dropped_WireError": 3},
}

STARTING: dict[str, Any] = {
    **STATUS,
    "state": "starting",
    "locators": [],
    "last_move": None,
    "peers": [],
    "counters": {"token_refused": 0},
    "publish": {
        "provider": "rfc2136",
        "state": "refused",
        "address": None,
        "error": "10.201.1.1 refused the key a.vipip.net (BADKEY)",
    },
}

PARTNER: dict[str, Any] = {
    "name": "b.vipip.net",
    "hint_ms": 0.31,
    "ack_ms": 1.24,
    "lookup_ms": None,
    "validated_ms": 2.5,
    "replayed": 12,
    "replayed_bytes": 14_400,
    "dropped": 3,
    "gap_ms": 4.75,
    "outcome": "acked",
}

MOVES: dict[str, Any] = {
    "moves": [
        {
            "id": 1,
            "cause": "address",
            "at": 1764000123.25,
            "old": ["10.201.1.10:5847"],
            "new": ["10.201.2.10:5847"],
            "dns_ms": 6.5,
            "partners": [PARTNER],
        },
        {
            "id": 2,
            "cause": "link",
            "at": 1764000130.5,
            "old": ["10.201.2.10:5847"],
            "new": [],
            "dns_ms": None,
            "partners": [
                {
                    **PARTNER,
                    "outcome": None,
                    "ack_ms": None,
                    "validated_ms": None,
                    "gap_ms": None,
                    "replayed": 0,
                    "dropped": 0,
                }
            ],
        },
    ]
}

STEPS: list[dict[str, Any]] = [
    {"id": "dns", "ms": 1.2, "ok": True, "detail": "10.201.2.20, vipnet on port 5847"},
    {"id": "handshake", "ms": 3.4, "ok": True, "detail": "from 10.201.2.20:5847"},
]

RESOLVE: dict[str, Any] = {
    "name": "b.vipip.net",
    "kind": "vip",
    "address": "240.17.4.9",
    "locator": "10.201.2.20:5847",
    "problem": None,
    "steps": STEPS,
}

FAILED: dict[str, Any] = {
    "name": "b.vipip.net",
    "kind": "failed",
    "address": None,
    "locator": None,
    "problem": "b.vipip.net does not answer: it is off-line.",
    "steps": [
        STEPS[0],
        {"id": "handshake", "ms": 3000.0, "ok": False, "detail": "no answer from 10.201.2.20:5847"},
    ],
}

PING: dict[str, Any] = {
    "name": "b.vipip.net",
    "token": "240.17.4.9",
    "locator": "10.201.2.20:5847",
    "rtt_ms": 0.42,
    "problem": None,
    "steps": STEPS,
}

OF_SCHEMA: list[tuple[str, dict[str, Any]]] = [
    ("status", STATUS),
    ("status", STARTING),
    ("peers", {"peers": [PEER, QUIET_PEER]}),
    ("moves", MOVES),
    ("resolve", RESOLVE),
    ("resolve", FAILED),
]

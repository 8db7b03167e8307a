"""`nft -j list ruleset` (libnftables-json(5)) as chains of the packet filter model."""

from __future__ import annotations

import json
from collections.abc import Iterator
from ipaddress import ip_address, ip_network
from typing import Any, Final

from msgspec import structs

from vipnet.app.doctor.packetfilter import Chain, Match, Rule, Step, Version

_HOOKS: Final = frozenset({"ingress", "prerouting", "input", "forward", "output", "postrouting"})
# What a host's packets come through, and of which version they are there; None: both.
_FAMILIES: Final[dict[str, Version | None]] = {"inet": None, "ip": 4, "ip6": 6, "netdev": None}
_VERSIONS: Final[dict[str, Version]] = {"ip": 4, "icmp": 4, "ip6": 6, "icmpv6": 6}  # of protocols
_FIELDS: Final = {
    ("payload", "ip", "saddr"): "source",
    ("payload", "ip", "daddr"): "destination",
    ("payload", "ip", "protocol"): "protocol",
    ("payload", "ip6", "saddr"): "source",
    ("payload", "ip6", "daddr"): "destination",
    ("payload", "ip6", "nexthdr"): "protocol",
    ("meta", "l4proto"): "protocol",
    ("meta", "nfproto"): "nfproto",
    ("meta", "protocol"): "nfproto",
    ("meta", "iifname"): "iif",
    ("meta", "iif"): "iif",
    ("meta", "oifname"): "oif",
    ("meta", "oif"): "oif",
    ("ct", "state"): "state",
}
_ANSWERED: Final[dict[str | None, tuple[Match, ...]]] = {
    "icmp": (Match("nfproto", ("ipv4",)),),
    "icmpv6": (Match("nfproto", ("ipv6",)),),
    "tcp reset": (Match("protocol", ("tcp",)),),
}
_IP_FAMILY: Final = {"ip": "ipv4", "ip6": "ipv6"}
# Statements that decide nothing.
_SILENT: Final = frozenset(
    {"counter", "log", "notrack", "mangle", "comment", "set", "ct helper", "snat", "dnat", "masquerade"}
)
_PORTS: Final = {"sport": "sport", "dport": "dport"}
_NUMBERS_OF: Final = frozenset({"source", "destination", "sport", "dport"})
_UNKNOWN: Final = Match("?")


def chains(text: bytes) -> tuple[Chain, ...]:
    """The chains of a ruleset. Raise ValueError when TEXT is none."""
    try:
        items = json.loads(text)["nftables"]
        found = [next(iter(item.items())) for item in items]
        sets = {
            (entry["family"], entry["table"], entry["name"]): entry
            for kind, entry in found
            if kind in ("set", "map")
        }
        rules: dict[tuple[str, str, str], list[Rule]] = {}
        for kind, entry in found:
            if kind == "rule" and entry["family"] in _FAMILIES:
                place = entry["family"], entry["table"], entry["chain"]
                rules.setdefault(place, []).append(_rule(entry, sets))
        return tuple(
            _chain(entry, rules) for kind, entry in found if kind == "chain" and entry["family"] in _FAMILIES
        )
    except (ValueError, KeyError, TypeError, AttributeError, StopIteration) as error:
        raise ValueError(f"not a ruleset of nft: {error}") from None


def _chain(entry: dict[str, Any], rules: dict[tuple[str, str, str], list[Rule]]) -> Chain:
    place = entry["family"], entry["table"], entry["name"]
    hook = entry.get("hook")
    return Chain(
        f"{entry['family']} {entry['table']}",
        entry["name"],
        tuple(rules.get(place, ())),
        hook if hook in _HOOKS else None,
        entry.get("prio", 0),
        "drop" if entry.get("policy") == "drop" else "accept",
        entry.get("dev") if isinstance(entry.get("dev"), str) else None,
        version=_FAMILIES[entry["family"]],
    )


def _rule(entry: dict[str, Any], sets: dict[Any, Any]) -> Rule:
    place = entry["family"], entry["table"]
    matches: list[Match] = []
    branches: list[tuple[Match, Step]] = []
    step: Step | None = None
    words: list[str] = []
    for statement in entry.get("expr", ()):
        ((kind, body),) = statement.items()
        words.append(_words(kind, body))
        if kind == "match":
            matches += _matches(body["left"], body["right"], body["op"], place, sets)
        elif kind in ("accept", "drop", "return"):
            step = Step(kind)
        elif kind == "reject":
            step = Step("drop")
            # Nft leaves out the condition that the kind of answer implies.
            matches += _ANSWERED.get((body or {}).get("type"), ())
        elif kind in ("jump", "goto"):
            step = Step(kind, body["target"])
        elif kind == "vmap":
            branches += _branches(body, place, sets)
        elif kind in ("queue", "xt", "tproxy", "synproxy", "flow"):
            step = Step("?") if kind == "queue" else step
            matches.append(_UNKNOWN)
        elif kind not in _SILENT:
            matches.append(_UNKNOWN)
    return Rule(tuple(matches), step, " ".join(filter(None, words)), entry.get("handle"), tuple(branches))


def _branches(body: dict[str, Any], place: tuple[str, str], sets: dict[Any, Any]) -> list[tuple[Match, Step]]:
    data = body["data"]
    if isinstance(data, str):
        pairs = sets.get((*place, data.removeprefix("@")), {}).get("elem", ())
    else:
        pairs = data.get("set", ())
    found = []
    for value, verdict in pairs:
        ((kind, target),) = verdict.items()
        if kind in ("accept", "drop", "return", "continue"):
            step = Step(kind)
        else:
            step = Step(kind, target["target"]) if kind in ("jump", "goto") else Step("?")
        conditions = _matches(body["key"], value, "==", place, sets)
        # A map's key is one value: of its protocol and the value both have to hold.
        found.append((_conjunction(conditions), step))
    return found


def _conjunction(conditions: list[Match]) -> Match:
    return conditions[-1] if len(conditions) <= 2 else _UNKNOWN


def _matches(left: Any, right: Any, op: str, place: tuple[str, str], sets: dict[Any, Any]) -> list[Match]:  # noqa: ANN401 - JSON
    """One condition as matches; a port's says the protocol too."""
    ((kind, body),) = left.items()
    negated = op == "!="
    if op not in ("==", "!=", "in"):
        return [_UNKNOWN]
    if kind == "payload" and body.get("field") in _PORTS:
        protocol = body["protocol"]
        known = [Match("protocol", (protocol,))] if protocol in ("udp", "tcp") else []
        if not known and protocol != "th":
            return [Match("protocol", (protocol,)), _UNKNOWN]
        return [*known, _match(_PORTS[body["field"]], right, negated, place, sets)]
    if kind == "fib":
        return [_route_match(body, right, negated)]
    path = (kind, body.get("protocol"), body.get("field")) if kind == "payload" else (kind, body.get("key"))
    field = _FIELDS.get(path) if kind in ("payload", "meta", "ct") else None
    if field is not None:
        found = _match(field, right, negated, place, sets)
        version = _VERSIONS.get(body.get("protocol")) if kind == "payload" else None
        return [structs.replace(found, version=version)]
    return [*(_protocol(body) if kind == "payload" else ()), _UNKNOWN]


def _protocol(body: dict[str, Any]) -> Iterator[Match]:
    """What is known of a field that this model does not know: of which protocol it is."""
    protocol = body.get("protocol")
    if protocol in _VERSIONS:
        yield Match("nfproto", (f"ipv{_VERSIONS[protocol]}",))
    if protocol in ("tcp", "udp", "icmp"):
        yield Match("protocol", (protocol,))
    if protocol == "icmpv6":
        yield Match("protocol", ("ipv6-icmp",))


def _route_match(body: dict[str, Any], right: Any, negated: bool) -> Match:  # noqa: ANN401 - JSON
    """What a rule asks of the routing table: is this host meant, is there a way back."""
    if body.get("result") == "type" and "daddr" in body.get("flags", ()) and right == "local":
        return Match("local", (), negated)
    if body.get("result") == "oif" and "saddr" in body.get("flags", ()) and isinstance(right, bool):
        return Match("way back", (), negated is right)
    return _UNKNOWN


def _match(field: str, right: Any, negated: bool, place: tuple[str, str], sets: dict[Any, Any]) -> Match:  # noqa: ANN401 - JSON
    values = list(_values(right, place, sets))
    if field in _NUMBERS_OF:
        ranges = [_range(value) for value in values]
        if None in ranges:
            return _UNKNOWN
        return Match(field, tuple(one for one in ranges if one is not None), negated)
    if not all(isinstance(value, str) for value in values):
        return _UNKNOWN
    return Match(
        field,
        tuple(_IP_FAMILY.get(value, value) if field == "nfproto" else value for value in values),
        negated,
    )


def _values(right: Any, place: tuple[str, str], sets: dict[Any, Any]) -> Iterator[Any]:  # noqa: ANN401 - JSON
    """The single values that RIGHT stands for."""
    if isinstance(right, list):
        for one in right:
            yield from _values(one, place, sets)
    elif isinstance(right, dict) and "set" in right:
        yield from _values(right["set"], place, sets)
    elif isinstance(right, dict) and "elem" in right:
        yield from _values(right["elem"]["val"], place, sets)
    elif isinstance(right, str) and right.startswith("@"):
        yield from _values(sets.get((*place, right[1:]), {}).get("elem", []), place, sets)
    else:
        yield right


def _range(value: Any) -> tuple[int, int] | None:  # noqa: ANN401 - JSON
    """The numbers of an address, a network, a port or a range of them; None: none of these."""
    try:
        if isinstance(value, dict) and "prefix" in value:
            network = ip_network(f"{value['prefix']['addr']}/{value['prefix']['len']}", strict=False)
            return int(network.network_address), int(network.broadcast_address)
        if isinstance(value, dict) and "range" in value:
            first, last = (_number(end) for end in value["range"])
            return first, last
        return _number(value), _number(value)
    except ValueError:
        return None


def _number(value: Any) -> int:  # noqa: ANN401 - JSON
    return value if isinstance(value, int) else int(ip_address(value))


def _words(kind: str, body: Any) -> str:  # noqa: ANN401 - JSON
    """A statement about as nft prints it."""
    if kind == "match":
        op = "" if body["op"] in ("==", "in") else f"{body['op']} "
        return f"{_expression(body['left'])} {op}{_expression(body['right'])}"
    if kind in ("jump", "goto"):
        return f"{kind} {body['target']}"
    if kind == "vmap":
        return f"{_expression(body['key'])} vmap {_expression(body['data'])}"
    if kind in ("counter", "log"):
        return ""
    return kind


def _expression(value: Any) -> str:  # noqa: ANN401 - JSON
    if isinstance(value, list):
        return ", ".join(map(_expression, value))
    if not isinstance(value, dict):
        return str(value)
    ((kind, body),) = list(value.items())[:1]
    match kind:
        case "payload":
            return f"{body.get('protocol', 'payload')} {body.get('field', '')}".strip()
        case "meta":
            key = str(body.get("key"))
            return key if key.startswith(("iif", "oif")) else f"meta {key}"
        case "ct":
            return f"ct {body.get('key')}"
        case "prefix":
            return f"{_expression(body['addr'])}/{body['len']}"
        case "range":
            return "-".join(map(_expression, body))
        case "set":
            return f"{{ {_expression(body)} }}"
        case "concat":
            return " . ".join(map(_expression, body))
        case "elem":
            return _expression(body.get("val"))
    return str(kind)

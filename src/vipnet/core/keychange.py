"""A peer or this host has another key: who may say so, and how it gets about.

A rotation is announced under the old key, inside a session; whoever hears it stores the
new key and shakes hands with it, which is all the acknowledgement there is. Those who are
away hear it when they come back: until then each side speaks to the other by the keys
that the other knows. Any other change needs DNSSEC, or somebody's hand.
"""

from __future__ import annotations

from vipnet.core.host import Host, OwnKey
from vipnet.core.locators import usable_only
from vipnet.core.outputs import LogEvent, LookupResult, LookupWanted, Output, OwnKeyCloned, TrustLevel
from vipnet.core.peer import Peer
from vipnet.core.session import Session
from vipnet.core.trust import at_least
from vipnet.errors import ProtocolError
from vipnet.types import Fqdn, Instant, Locator, PublicKey, fingerprint
from vipnet.wire.control import Cloned, KeyRotation, encode
from vipnet.wire.datagram import KIND_CONTROL

_SAY_AGAIN_S = 60.0

# --- our own key


def announce(peer: Peer, now: Instant) -> list[Output]:
    """Tell a peer that knows us by an old key the present one, again and again until it uses that."""
    host = peer.host
    if peer.own == host.key or peer.sessions.sending(now) is None:
        peer.announce_at = None
        return []
    if peer.announce_at is None:
        peer.announce_gap_s = max(3 * peer.rtt.rtt_s, host.policy.handshake_retry_s)
    peer.announce_at = Instant(now + peer.announce_gap_s)
    peer.announce_gap_s = min(2 * peer.announce_gap_s, host.policy.handshake_retry_max_s)
    return peer.seal_to_current(KeyRotation(host.key.public), now)


def handle_cloned(host: Host, said_by: Fqdn, now: Instant) -> list[Output]:
    """A partner sees two machines with our key, or we see the other one: say so, now and then."""
    last, host.cloned_at = host.cloned_at, now
    host.count("own_key_cloned")
    if last is not None and now - last < _SAY_AGAIN_S:
        return []
    fields = {"said_by": said_by, "what_to_do": "vipnet key rotate on one of the two machines"}
    return [LogEvent("trust.own_key_cloned", fields, "warning"), OwnKeyCloned(said_by)]


# --- a peer's key


def handle_run(peer: Peer, session: Session, source: Locator, now: Instant) -> list[Output]:
    """A handshake is complete, by some run of the peer's daemon: see whether there are two machines."""
    if session.boot_id == bytes(8):  # not known after XX
        return []
    known = peer.runs.are_two(now)
    if not peer.runs.saw(session.boot_id, now):
        return []
    peer.host.count("cloned_key")
    outputs: list[Output] = [peer.transmit(session, encode(Cloned()), KIND_CONTROL, source)]
    if not known:
        outputs.append(LogEvent("trust.cloned_key", {"peer": peer.name, "one_at": str(source)}, "warning"))
    return outputs


def handle_rotation(peer: Peer, session: Session, message: KeyRotation, now: Instant) -> list[Output]:
    """The peer has another key. Raise ProtocolError when it cannot have that one.

    Only the key that counts now can name its successor: a message of before the last
    rotation comes too late.
    """
    key = PublicKey(message.key)
    if key == peer.key:
        if session.peer_key != key:
            peer.want_handshake(now)  # it does not know that we know
        return []
    if session.peer_key != peer.key:
        peer.host.count("late_key_rotation")
        return []
    if key in peer.known.previous_keys or key == bytes(32) or peer.host.has_key(key):
        raise ProtocolError(f"{peer.name} names a key that cannot be its next")
    return change(peer, key, now, "announced under the old key")


def change(
    peer: Peer, key: PublicKey, now: Instant, why: str, trust: TrustLevel | None = None
) -> list[Output]:
    """KEY counts from now on; WHY is for people. The handshake shows the peer that we know."""
    fields = {
        "peer": peer.name,
        "from": fingerprint(peer.key),
        "to": fingerprint(key),
        "why": why,
    }
    outputs: list[Output] = [peer.change_key(key, trust or peer.known.trust)]
    peer.want_handshake(now)
    return [*outputs, LogEvent("trust.key_rotated", fields)]


def handle_previous_key(peer: Peer, own: OwnKey, source: Locator, now: Instant) -> list[Output]:
    """An init to our key OWN, by one that the peer had before: it does not know that we know its new one.

    It is shown by a handshake to that; the init, which may be an old one, counts for nothing else,
    but that the peer knows our present key: else two that rotate at once wait for each other.
    """
    host = peer.host
    outputs = peer.use_own_key(own) if own == host.key else []
    if peer.greeted_at is not None and now - peer.greeted_at < host.policy.previous_key_retry_s:
        return outputs
    peer.greeted_at = now
    host.count("previous_key")
    peer.mapping.add_looked_up(usable_only([source], host.space.subnet, host.locators))
    peer.initiator.begin(now)
    return outputs


def refuse(peer: Peer, key: PublicKey, dns: LookupResult | None) -> list[Output]:
    """Like a changed SSH host key: refused, and said so, but once a key.

    dns  what DNS says of the peer, None: nothing
    """
    peer.host.count("key_changed")
    if peer.refused_key == key:
        return []
    peer.refused_key = key
    fields = {
        "peer": peer.name,
        "known": fingerprint(peer.key),
        "offered": fingerprint(key),
        "in_dns": None if dns is None or dns.key is None else fingerprint(dns.key),
        "if_it_is_right": f"vipnet trust accept-new-key {peer.name}",
    }
    return [LogEvent("trust.key_changed", fields, "warning")]


def compare_with_dns(peer: Peer, result: LookupResult, now: Instant) -> list[Output]:
    """The stored key counts, unless DNSSEC vouches for another.

    What DNS says makes trust stronger, or is worth a warning.
    """
    if result.key is None:
        return []
    if result.key == peer.key:
        peer.other_key = None
        level = at_least(peer.known.trust, "dnssec" if result.secure else "dns")
        return [] if level == peer.known.trust else [peer.remember(trust=level)]
    if result.key in peer.known.previous_keys:
        return []  # DNS lags behind, or somebody plays back what was true once
    if vouched_for(peer, result):
        return change(peer, result.key, now, "DNSSEC", "dnssec")
    if result.key == peer.other_key:
        return []
    peer.other_key = result.key
    fields = {
        "peer": peer.name,
        "known": fingerprint(peer.key),
        "in_dns": fingerprint(result.key),
        "if_it_is_right": f"vipnet trust accept-new-key {peer.name}",
    }
    outputs: list[Output] = [LogEvent("trust.dns_has_another_key", fields, "warning")]
    if not result.secure and peer.known.trust != "pinned":
        outputs.append(LookupWanted(peer.name, "another key in DNS", authoritative=True, verify=True))
    return outputs


def vouched_for(peer: Peer, result: LookupResult) -> bool:
    """Whether DNS makes its key the peer's: validated, not overruled by hand, and never there before."""
    return (
        result.secure
        and result.key is not None
        and peer.known.trust != "pinned"
        and result.key not in peer.known.previous_keys
    )


def accept(peer: Peer, key: PublicKey, now: Instant) -> list[Output]:
    """Somebody has compared KEY and says that it is the peer's."""
    if key == peer.key:
        return [peer.remember(trust="pinned")]
    # The one that is replaced was a mistake, perhaps: who says so may say the contrary later.
    previous = tuple(old for old in peer.known.previous_keys if old != key)
    outputs = change(peer, key, now, "accepted by hand", "pinned")
    return [*outputs, peer.remember(previous_keys=previous)]

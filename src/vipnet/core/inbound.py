"""The way of a datagram in: from the network to an application."""

from __future__ import annotations

from vipnet.core import binding, handshakes, keychange, moving
from vipnet.core.host import Host
from vipnet.core.opening import Opened, Opener
from vipnet.core.outbound import flush, touch
from vipnet.core.outputs import Deliver, LogEvent, Output
from vipnet.core.peer import Peer
from vipnet.core.session import Session
from vipnet.core.sighting import seen_at
from vipnet.errors import PeerError, ProtocolError
from vipnet.types import Instant, Locator
from vipnet.wire import control, udp
from vipnet.wire.control import (
    Accept,
    Choose,
    Cloned,
    Close,
    Hint,
    HintAck,
    Keepalive,
    KeyRotation,
    Offer,
    OfferRequest,
    PathChallenge,
    PathResponse,
)
from vipnet.wire.datagram import DataHeader
from vipnet.wire.offload import Packet


def session_of(host: Host, datagram: memoryview) -> tuple[Peer, Session]:
    """Whose a sealed DATAGRAM is, and under which keys. Raise PeerError when there are none."""
    header = DataHeader.decode(datagram)
    owner, session = host.indexes.get(header.receiver_index, (None, None))
    if not isinstance(owner, Peer) or not isinstance(session, Session):
        raise ProtocolError("datagram for an unknown session")
    return owner, session


def handle_sealed(
    peer: Peer, session: Session, data: memoryview, segment_size: int, source: Locator, now: Instant
) -> tuple[list[Output], list[PeerError], int]:
    """Datagrams of SEGMENT_SIZE bytes, the last perhaps shorter, of which the first is for SESSION.

    Return what is to be done, what was not acceptable, and how many bytes were SESSION's.
    """
    opener = Opener(session, peer.host.plaintexts(len(data), segment_size))
    if not session.confirmed:
        data = data[:segment_size]  # until it is, the pair's tokens may not be agreed on
    consumed = opener.open(data, segment_size)
    opened = opener.opened
    peer.rx_bytes += opened.size
    outputs: list[Output] = []
    if not opened.count:
        return outputs, opened.errors, consumed
    confirmed_now = not session.confirmed
    if confirmed_now:
        peer.lane = None
        outputs += handshakes.confirm(peer, session, source, now)
    outputs += _handle_opened(peer, session, opened, source, now)
    if confirmed_now and opened.errors:
        # What it says is refused, but that it was sealed confirmed the session.
        peer.host.count("refused_first_datagram")
    return outputs, opened.errors, consumed


def _handle_opened(
    peer: Peer, session: Session, opened: Opened, source: Locator, now: Instant
) -> list[Output]:
    outputs: list[Output] = []
    from_current = source == peer.mapping.current
    if opened.messages or opened.probes or not from_current:
        peer.lane = None
    if peer.liveness.overdue(now):
        peer.doubt_path()
    peer.mapping.last_heard = now
    peer.renewing = False
    peer.liveness.received()
    newest = session is peer.sessions.newest and opened.top >= session.window.highest
    if opened.packets:
        outputs += _handle_packets(peer, opened, now)
    outputs += _answer_probes(peer, opened, source, now)
    for body in opened.messages:
        try:
            message = control.decode(body)
            outputs += _handle_message(peer, session, message, source, now)
        except PeerError as error:
            opened.errors.append(error)
        else:
            # These say themselves where the peer is.
            newest = newest and not isinstance(message, Hint | HintAck | PathChallenge | PathResponse)
    if opened.unknown:
        peer.host.count("unknown_kind", opened.unknown)
    if from_current:
        peer.current_heard = now
        peer.trial.received(opened.size)
    elif newest and source != peer.mapping.current:
        outputs += moving.handle_foreign_source(peer, source, now)
    if peer.dead:
        outputs += peer.find_path() + flush(peer, now)
    if peer.in_outage() and from_current:
        outputs += moving.ask_what_arrived(peer, now)
    return outputs


def _handle_packets(peer: Peer, opened: Opened, now: Instant) -> list[Output]:
    """Packets of applications: those that carry this pair's tokens are delivered."""
    addresses = peer.inbound_addresses
    accepted: list[Packet] = []
    for packet in opened.packets:
        if packet.data[12:20] == addresses:
            peer.flows.received(packet.data)
            accepted.append(packet)
        else:
            error = f"packet from {peer.name} with addresses that are not this pair's tokens"
            opened.errors.append(ProtocolError(error))
    if not accepted:
        return []
    peer.liveness.received_data(now)
    outputs = touch(peer, now)
    outputs += [Deliver(packet.data, packet.offload) for packet in udp.join(accepted)]
    last_data = peer.data_heard
    if peer.moved_at is not None and last_data is not None:
        peer.moves.note_gap(peer.name, last_data, now)
    peer.moved_at, peer.data_heard = None, now
    return outputs


def _answer_probes(peer: Peer, opened: Opened, source: Locator, now: Instant) -> list[Output]:
    """Datagrams of their size arrive: say so where they came from."""
    outputs: list[Output] = []
    for data in opened.probes:
        outputs += peer.seal(PathResponse(data, peer.reports()), source, now)
    return outputs


def _handle_message(
    peer: Peer, session: Session, message: control.ControlMessage, source: Locator, now: Instant
) -> list[Output]:
    match message:
        case Hint():
            return moving.handle_hint(peer, message, source, now)
        case HintAck():
            return seen_at(peer, message.observed) + moving.handle_hint_ack(peer, message, source, now)
        case PathChallenge():
            return seen_at(peer, message.observed) + moving.handle_path_challenge(peer, message, source, now)
        case PathResponse():
            return moving.handle_path_response(peer, message, now)
        case Offer() | OfferRequest() | Choose() | Accept():
            return binding.apply(peer, peer.negotiation.handle(message, peer.host.unix_s, now), now)
        case Close():
            return _handle_close(peer, session, message)
        case KeyRotation():
            return keychange.handle_rotation(peer, session, message, now)
        case Cloned():
            return keychange.handle_cloned(peer.host, peer.name, now)
        case Keepalive():
            return []


def _handle_close(peer: Peer, session: Session, message: Close) -> list[Output]:
    """The peer goes away in order: its sessions are void, its binding stays.

    A Close that comes late says nothing of the sessions of the peer's next run.
    """
    void = peer.sessions.drop(session.boot_id)
    peer.host.forget_indexes([dropped.local_index for dropped in void])
    if peer.sessions.newest is not None:
        return []
    peer.liveness.reset()
    peer.negotiation.suspend()
    peer.hints = None
    peer.stash.clear()
    peer.flows.clear()
    return [LogEvent("session.closed", {"peer": peer.name, "reason": message.reason})]

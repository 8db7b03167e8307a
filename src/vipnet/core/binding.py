"""What a step of the token negotiation means for the rest of the host."""

from __future__ import annotations

from collections.abc import Iterable

from vipnet.core.negotiation import Step
from vipnet.core.outputs import BindingFailed, BindingReady, LogEvent, Output, StoreBinding, UseLocalToken
from vipnet.core.peer import Peer
from vipnet.errors import ProtocolError
from vipnet.types import Instant
from vipnet.wire.control import TokenMessage


def apply(peer: Peer, step: Step, now: Instant) -> list[Output]:
    """Store first, then speak, then tell the applications."""
    outputs = absorb(peer, step)
    for message in step.messages:
        outputs += peer.seal_to_current(message, now)
    return outputs


def hear(peer: Peer, messages: Iterable[TokenMessage], now: Instant) -> list[Output]:
    """Take MESSAGES that came with a handshake; a wrong one is counted, and undoes nothing else."""
    outputs: list[Output] = []
    for message in messages:
        try:
            outputs += apply(peer, peer.negotiation.handle(message, peer.host.unix_s, now), now)
        except ProtocolError:
            peer.host.count("wrong_token_message")
    return outputs


def absorb(peer: Peer, step: Step) -> list[Output]:
    """As apply, but the messages travel in a handshake payload."""
    outputs: list[Output] = list(step.outputs)
    if step.revoked is not None:
        outputs += withdraw(peer, step.revoked)
    if step.ready:
        outputs += show(peer)
    if step.failed is not None and peer.wanted_until is not None:
        peer.wanted_until = None
        outputs.append(BindingFailed(peer.name, step.failed))
    return outputs


def show(peer: Peer) -> list[Output]:
    """The pair is agreed: packets may use it, applications may see it."""
    binding = peer.binding
    if binding is None:
        return []
    local, remote = binding.local_token.packed, binding.remote_token.packed
    peer.host.remote_tokens[remote] = peer
    peer.inbound_addresses, peer.outbound_addresses = remote + local, local + remote
    peer.wanted_until = None
    outputs: list[Output] = []
    if binding.local_token != peer.host.space.own_token:
        outputs.append(UseLocalToken(binding.local_token, binding.remote_token))
    return [*outputs, BindingReady(peer.name, binding.remote_token), *peer.located()]


def withdraw(peer: Peer, binding: StoreBinding) -> list[Output]:
    """The other side lost its store and cannot take the pair back: flows under it end."""
    peer.host.remote_tokens.pop(binding.remote_token.packed, None)
    peer.inbound_addresses = peer.outbound_addresses = b""
    return [LogEvent("binding.revoked", {"peer": peer.name, "token": str(binding.remote_token)}, "warning")]

"""One host in a negotiation, for the tests that read as a specification."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network

from vipnet.core.negotiation import Negotiation, Step
from vipnet.core.outputs import StoreBinding, StoreOutput
from vipnet.core.tokens import TokenSpace
from vipnet.policy import Policy
from vipnet.types import Fqdn, Instant, Token
from vipnet.wire.control import TokenMessage, TokenPair

TINY = IPv4Network("240.0.0.0/28")
CHOOSER, OTHER, THIRD = Fqdn("a.vipip.net"), Fqdn("b.vipip.net"), Fqdn("d.vipip.net")
POLICY = Policy()
UNIX, NOW = 1_000_000.0, Instant(50.0)


def tiny(last: int) -> Token:
    return Token(IPv4Address(f"240.0.0.{last}"))


def pair(chooser: int, other: int) -> TokenPair:
    return TokenPair(tiny(chooser), tiny(other))


FIRST = pair(3, 8)  # both first candidates in TINY
THIRD_AT_OTHER = StoreBinding(THIRD, tiny(8), tiny(3), 1, True, UNIX + 1e6)  # has the chooser's token
THIRD_AT_CHOOSER = StoreBinding(THIRD, tiny(3), tiny(8), 1, True, UNIX + 1e6)  # has the other's token


class Side:
    """One host and what it was told to do."""

    def __init__(
        self,
        name: Fqdn,
        subnet: IPv4Network = TINY,
        policy: Policy = POLICY,
        third: StoreBinding | None = None,
    ) -> None:
        self.name, self.chooses = name, name == CHOOSER
        self.space = TokenSpace(subnet)
        if third is not None:
            self.space.bind(third)
        self.space.choose_own(name, UNIX)
        peer = OTHER if self.chooses else CHOOSER
        self.negotiation = Negotiation(name, peer, self.chooses, self.space, policy)

    def hear(self, *messages: TokenMessage, provisional: bool = False) -> Step:
        """The last step; all messages but the last must lead to nothing of interest."""
        step = Step()
        for message in messages:
            step = self.negotiation.handle(message, UNIX, NOW, provisional=provisional)
        return step

    @property
    def shown(self) -> TokenPair | None:
        binding = self.negotiation.binding
        if binding is None:
            return None
        local, remote = binding.local_token, binding.remote_token
        return TokenPair(local, remote) if self.chooses else TokenPair(remote, local)


def chooser(**options: object) -> Side:
    return Side(CHOOSER, **options)  # type: ignore[arg-type]


def other(**options: object) -> Side:
    return Side(OTHER, **options)  # type: ignore[arg-type]


def talk(speaker: Side, step: Step, listener: Side, *, most: int = 100) -> list[TokenMessage]:
    """Carry messages over a session in both directions until there are none; return them all."""
    said: list[TokenMessage] = []
    pending = [(listener, message) for message in step.messages]
    while pending:
        hearer, message = pending.pop(0)
        said.append(message)
        assert len(said) <= most, said
        answerer = speaker if hearer is listener else listener
        pending += [(answerer, reply) for reply in hearer.hear(message).messages]
    return said


def handshake(initiator: Side, responder: Side) -> None:
    """As the daemon does it: message 1, message 2, then what is sealed."""
    opening = initiator.negotiation.opening(UNIX)
    answers = [reply for m in opening.messages for reply in responder.hear(m, provisional=True).messages]
    sealed = [reply for m in answers for reply in initiator.hear(m).messages]
    sealed += initiator.negotiation.confirm(UNIX, NOW).messages
    back = list(responder.negotiation.confirm(UNIX, NOW).messages)
    for message in sealed:
        back += responder.hear(message).messages
    talk(responder, Step(messages=tuple(back)), initiator)


def bindings(outputs: tuple[StoreOutput, ...]) -> list[StoreBinding]:
    return [output for output in outputs if isinstance(output, StoreBinding)]


def settled() -> tuple[Side, Side]:
    a, b = chooser(), other()
    handshake(a, b)
    assert a.shown == b.shown == FIRST
    return a, b

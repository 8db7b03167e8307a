"""Three and more hosts that negotiate in pairs over a bad network, in a subnet that is too small for luck."""

from __future__ import annotations

from ipaddress import IPv4Network
from itertools import permutations

from hypothesis import given, settings
from hypothesis import strategies as st

from vipnet.core.negotiation import Negotiation
from vipnet.core.tokens import TokenSpace, candidate
from vipnet.policy import Policy
from vipnet.types import Fqdn, Instant, Token
from vipnet.wire.control import TokenMessage

SUBNET = IPv4Network("240.0.0.0/27")
POLICY = Policy()
LOUDEST = 400  # messages for one pair, once the network is quiet


def collided(first: Fqdn, count: int) -> list[Fqdn]:
    """COUNT names that all have FIRST's first candidate, as `vipnet lab up --collide` makes them."""
    names, n = [first], 0
    while len(names) < count:
        name = Fqdn(f"d{n}.vipip.net")
        if candidate(name, 0, SUBNET) == candidate(first, 0, SUBNET):
            names.append(name)
        n += 1
    return names


STRANGERS = [Fqdn(f"h{n}.example") for n in range(5)]
TWINS = collided(Fqdn("b.vipip.net"), 5)
Envelope = tuple[Fqdn, Fqdn, TokenMessage]  # from, to


class Crowd:
    """Hosts in the order of their static keys, and what is under way between them."""

    def __init__(self, names: list[Fqdn]) -> None:
        self.names = names
        self.spaces = {name: TokenSpace(SUBNET) for name in names}
        for name, space in self.spaces.items():
            space.choose_own(name, 0.0)
        self.negotiations = {
            (ours, theirs): Negotiation(
                ours, theirs, names.index(ours) < names.index(theirs), self.spaces[ours], POLICY
            )
            for ours, theirs in permutations(names, 2)
        }
        self.network: list[Envelope] = []
        self.shown: dict[tuple[Fqdn, Fqdn], tuple[Token, Token]] = {}

    def start(self, ours: Fqdn, theirs: Fqdn) -> None:
        step = self.negotiations[ours, theirs].start(0.0, Instant(0.0))
        self.network += [(ours, theirs, message) for message in step.messages]

    def deliver(self, envelope: Envelope) -> None:
        theirs, ours, message = envelope
        step = self.negotiations[ours, theirs].handle(message, 0.0, Instant(0.0))
        self.network += [(ours, theirs, reply) for reply in step.messages]
        self.check(ours)

    def check(self, name: Fqdn) -> None:
        """No token has two meanings on the host, and what it showed stays: no store is lost here."""
        bindings = self.spaces[name].bindings()
        remotes = [binding.remote_token for binding in bindings]
        assert len(set(remotes)) == len(remotes)
        assert not {binding.local_token for binding in bindings} & set(remotes)
        for binding in bindings:
            if binding.accepted:
                tokens = (binding.local_token, binding.remote_token)
                assert self.shown.setdefault((name, binding.name), tokens) == tokens

    def settle(self) -> None:
        """Nothing is lost any more, and the hosts say again what is unanswered."""
        for _ in range(LOUDEST * len(self.negotiations)):
            if self.network:
                self.deliver(self.network.pop(0))
                continue
            waiting = [pair for pair, each in self.negotiations.items() if each.next_timeout() is not None]
            if not waiting:
                return
            due = self.negotiations[waiting[0]].next_timeout()
            assert due is not None
            step = self.negotiations[waiting[0]].handle_timeout(0.0, due)
            assert step.failed is None
            self.network += [(*waiting[0], message) for message in step.messages]
        raise AssertionError("the hosts talk for ever")


@settings(max_examples=60)
@given(
    names=st.sampled_from([STRANGERS, TWINS])
    .flatmap(st.permutations)
    .flatmap(lambda names: st.integers(3, 5).map(lambda count: list(names[:count]))),
    choices=st.lists(
        st.tuples(st.integers(0, 10**6), st.sampled_from(["deliver", "lose", "repeat"])), max_size=80
    ),
    begin_both=st.booleans(),
)
def test_all_pairs_agree_once_the_network_is_quiet(
    names: list[Fqdn], choices: list[tuple[int, str]], begin_both: bool
) -> None:
    crowd = Crowd(names)
    for ours, theirs in permutations(names, 2):
        if begin_both or ours < theirs:
            crowd.start(ours, theirs)
    for number, what in choices:
        if not crowd.network:
            break
        envelope = crowd.network[number % len(crowd.network)]
        if what != "repeat":
            crowd.network.remove(envelope)
        if what != "lose":
            crowd.deliver(envelope)
    crowd.settle()
    for ours, theirs in permutations(names, 2):
        here, there = crowd.negotiations[ours, theirs].binding, crowd.negotiations[theirs, ours].binding
        assert here is not None
        assert there is not None
        assert (here.local_token, here.remote_token) == (there.remote_token, there.local_token)
    if names[0] in TWINS:
        assert sum(space.refused for space in crowd.spaces.values()) > 0

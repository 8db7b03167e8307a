"""The rules of the host that does not choose: it offers, and stores what fits."""

from __future__ import annotations

from itertools import islice

from vipnet.core.pairing import Pairing, Step
from vipnet.core.tokens import TokenSpace
from vipnet.errors import ProtocolError
from vipnet.policy import OFFER_MAX, OFFER_PAGE, Policy
from vipnet.types import Fqdn
from vipnet.wire.control import Accept, Choose, Offer, OfferRequest, TokenMessage, TokenPair


class Offerer(Pairing):
    """The host with the higher static key."""

    chooses = False

    def __init__(self, own_name: Fqdn, peer: Fqdn, space: TokenSpace, policy: Policy) -> None:
        super().__init__(own_name, peer, space, policy)
        self._refused: tuple[int, TokenPair] | None = None

    def opening(self, unix_now: float) -> Step:
        self.asked = self._offer(unix_now)
        return Step(messages=(self.asked,))

    def handle(self, message: TokenMessage, unix_now: float, *, provisional: bool) -> Step:
        """Raise ProtocolError when MESSAGE is not for this role or not for this moment."""
        match message:
            case Choose():
                step = self._handle_choose(message, unix_now, provisional=provisional)
            case OfferRequest() if not provisional:
                step = self._handle_request(message, unix_now)
            case _:
                raise ProtocolError(f"{type(message).__name__} to the host that does not choose")
        if not provisional:
            self.asked = None  # from here on the chooser repeats itself until it has what it wants
        return step

    def confirm(self, unix_now: float) -> Step:
        """Nothing is shown yet: the chooser says in the session whether it stands by its message 1.

        It may have gone on to another generation since it sent that.
        """
        if self.asked is None and (self.entry is None or not self.entry.accepted):
            self.asked = self._offer(unix_now)
        return Step()

    # --- messages

    def _handle_choose(self, choose: Choose, unix_now: float, *, provisional: bool) -> Step:
        if choose.generation == 0 or choose.tokens.chooser == choose.tokens.other:
            raise ProtocolError(f"Choose of {choose.tokens} in generation {choose.generation}")
        entry = self.entry
        if choose.revoke:
            return self._handle_revocation(choose, unix_now, provisional=provisional)
        if entry is None:
            return self._consider(choose, unix_now, provisional=provisional)
        if self.pair(entry) != choose.tokens:
            # Somebody may know us by the stored one already: the chooser has to take it over.
            return Step(messages=(self._offer(unix_now),))
        accept = Accept(choose.tokens, choose.generation)
        if provisional or entry.accepted:
            return Step(messages=(accept,))
        until = unix_now + self.policy.binding_s
        shown = self.write(choose.tokens, choose.generation, accepted=True, until=until)
        return Step(messages=(accept,), outputs=(shown,), ready=True)

    def _handle_revocation(self, choose: Choose, unix_now: float, *, provisional: bool) -> Step:
        entry = self.entry
        if provisional or entry is None or self.pair(entry) != choose.tokens:
            return Step(messages=(self._offer(unix_now),))  # a replay, or done already
        outputs = self.strike_out(unix_now)
        return Step(
            messages=(self._offer(unix_now),), outputs=outputs, revoked=entry if entry.accepted else None
        )

    def _handle_request(self, request: OfferRequest, unix_now: float) -> Step:
        return Step(messages=(self._offer(unix_now, page=request.page),))

    # --- rules

    def _consider(self, choose: Choose, unix_now: float, *, provisional: bool) -> Step:
        """Store a first choice of the chooser where it is free here, else say what is."""
        generation, pair = choose.generation, choose.tokens
        if provisional and not self.space.room_for_reservation(self.policy.reservations):
            return Step()  # the chooser says it again when the handshake is through
        expired = self.space.expire(unix_now)
        # What was refused once stays refused: the chooser may have heard of it by now.
        if self._refused == (generation, pair) or not self.is_free(pair, unix_now):
            self._refused = (generation, pair)
            self.space.refused += 1
            return Step(
                messages=(self._offer(unix_now, refused=generation),),
                outputs=expired,
                failed=self._outside(pair),
            )
        lifetime_s = self.policy.reservation_s if provisional else self.policy.binding_s
        entry = self.write(pair, generation, accepted=not provisional, until=unix_now + lifetime_s)
        return Step(messages=(Accept(pair, generation),), outputs=(*expired, entry), ready=not provisional)

    def _offer(self, unix_now: float, *, page: int = 0, refused: int = 0) -> Offer:
        entry = self.entry
        if entry is not None:
            return Offer(self.pair(entry), (), ())
        start, stop = page * OFFER_PAGE, min((page + 1) * OFFER_PAGE, OFFER_MAX)
        chooser = islice(self.space.free_remotes(self.peer, unix_now), start, stop)
        other = islice(self.space.free_locals(self.own_name, self.peer, unix_now), start, stop)
        return Offer(None, tuple(chooser), tuple(other), page, refused)

    def _outside(self, pair: TokenPair) -> str | None:
        subnet = self.space.subnet
        if pair.chooser in subnet or pair.other in subnet:
            return None
        return f"{self.peer} chose {pair.chooser} and {pair.other}, outside of our subnet {subnet}"

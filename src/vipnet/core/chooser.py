"""The rules of the host that chooses: it picks two tokens, and shows them once they are accepted."""

from __future__ import annotations

from typing import Final

from vipnet.core.outputs import StoreBinding, StoreOutput, StoreQuarantine
from vipnet.core.pairing import Pairing, Step
from vipnet.core.tokens import TokenSpace
from vipnet.errors import ProtocolError
from vipnet.policy import OFFER_MAX, OFFER_PAGE, Policy
from vipnet.types import Fqdn, Token
from vipnet.wire.control import Accept, Choose, Offer, OfferRequest, TokenMessage, TokenPair

PAGES: Final = OFFER_MAX // OFFER_PAGE
BLIND_MAX: Final = 4  # choices without regard to an offer that lies outside of our subnet
REFUSALS_MAX: Final = 32  # in one negotiation: a peer that takes nothing must not use up the subnet
HELD_MAX: Final = 8  # tokens of earlier generations that stay reserved


class Chooser(Pairing):
    """The host with the lower static key."""

    chooses = True

    def __init__(self, own_name: Fqdn, peer: Fqdn, space: TokenSpace, policy: Policy) -> None:
        super().__init__(own_name, peer, space, policy)
        self._generation = 0 if self.entry is None else self.entry.generation
        self._pages: tuple[Offer, ...] = ()
        self._tried: frozenset[Token] = frozenset()
        self._refusals = 0
        self._held: tuple[StoreQuarantine, ...] = ()  # of earlier generations, oldest first

    def opening(self, unix_now: float) -> Step:
        self._pages, self._tried, self._refusals = (), frozenset(), 0
        if self.entry is not None:
            return self._say_again(self.entry)
        return self._choose_blindly(unix_now)

    def handle(self, message: TokenMessage, unix_now: float, *, provisional: bool) -> Step:
        """Raise ProtocolError when MESSAGE is not for this role or not for this moment."""
        match message:
            case Offer():
                return self._handle_offer(message, unix_now, provisional=provisional)
            case Accept() if not provisional:
                return self._handle_accept(message, unix_now)
            case _:
                raise ProtocolError(f"{type(message).__name__} to the host that chooses")

    def confirm(self, unix_now: float) -> Step:
        """Say in the session what we stand by: an init that crossed another may be outdated.

        A reservation made for message 1 now lasts as one that we made unasked.
        """
        entry = self.entry
        if entry is None:
            return Step()
        messages = self._say_again(entry).messages if self.asked is None else ()
        if entry.accepted:
            return Step(messages=messages)
        until = unix_now + self.policy.binding_s
        lasting = self.write(self.pair(entry), entry.generation, accepted=False, until=until)
        return Step(messages=messages, outputs=(lasting,))

    # --- messages

    def _handle_offer(self, offer: Offer, unix_now: float, *, provisional: bool) -> Step:
        entry = self.entry
        if offer.existing is not None:
            return self._handle_existing(offer.existing, unix_now, provisional=provisional)
        if offer.refused > self._generation or (offer.refused and offer.page):
            raise ProtocolError(
                f"page {offer.page} refuses generation {offer.refused}, we are at {self._generation}"
            )
        if entry is not None:
            if provisional or offer.refused != entry.generation:
                return self._say_again(entry)
            return self._handle_refusal(entry, offer, unix_now)
        return self._choose_from(offer, unix_now, provisional=provisional)

    def _handle_existing(self, existing: TokenPair, unix_now: float, *, provisional: bool) -> Step:
        """The other host has stored a pair, and may have shown it."""
        if existing.chooser == existing.other:
            raise ProtocolError(f"{existing.chooser} for both hosts")
        entry = self.entry
        if entry is not None:
            if provisional or self.pair(entry) == existing:
                return self._say_again(entry)
            if entry.accepted:
                return self._revoke(existing)
        if not self.is_free(existing, unix_now):
            self.space.refused += 1
            return self._revoke(existing)
        before = () if entry is None else self._supersede(entry, unix_now)
        return self._choose(existing, unix_now, before=before, provisional=provisional)

    def _handle_refusal(self, entry: StoreBinding, offer: Offer, unix_now: float) -> Step:
        """Our present choice is not free there; if it was shown, the other host lost its store."""
        self._refusals += 1
        self._tried |= {entry.local_token, entry.remote_token}
        if entry.accepted:
            before, revoked = self.strike_out(unix_now), entry
        else:
            before, revoked = self._supersede(entry, unix_now), None
        if self._refusals > REFUSALS_MAX:
            self.asked = None
            step = Step(outputs=before, failed=f"{self.peer} refused {self._refusals} choices")
        else:
            step = self._choose_from(offer, unix_now, before=before)
        return Step(messages=step.messages, outputs=step.outputs, failed=step.failed, revoked=revoked)

    def _handle_accept(self, accept: Accept, unix_now: float) -> Step:
        entry = self.entry
        if accept.generation > self._generation:
            raise ProtocolError(f"Accept of generation {accept.generation}, we are at {self._generation}")
        if entry is None:
            # The reservation ran out while the Accept was on its way.
            return self._handle_existing(accept.tokens, unix_now, provisional=False)
        if (accept.tokens, accept.generation) != (self.pair(entry), entry.generation):
            return Step()  # of an earlier generation
        self.asked = None
        if entry.accepted:
            return Step()
        until = unix_now + self.policy.binding_s
        accepted = self.write(accept.tokens, accept.generation, accepted=True, until=until)
        self._pages, self._tried, self._refusals = (), frozenset(), 0
        held, self._held = self._held, ()
        return Step(outputs=(accepted, *self._let_go(held, unix_now)), ready=True)

    # --- choosing

    def _choose_from(
        self,
        offer: Offer,
        unix_now: float,
        *,
        before: tuple[StoreOutput, ...] = (),
        provisional: bool = False,
    ) -> Step:
        """Choose what is free on both hosts, or ask for more."""
        if offer.page not in (0, len(self._pages)):
            return Step()  # a duplicate, or of an earlier round
        self.asked = None
        self._pages = (*self._pages, offer) if offer.page else (offer,)
        if not offer.page and not (offer.chooser and offer.other):
            return Step(outputs=before, failed=f"{self.peer} has no free address left")
        if (pair := self._pick(unix_now)) is not None:
            return self._choose(pair, unix_now, before=before, provisional=provisional)
        if not self._offered_inside():
            return self._choose_blindly(unix_now, before=before, provisional=provisional)
        if len(self._pages) < PAGES and (offer.chooser or offer.other):
            self.asked = OfferRequest(len(self._pages))
            return Step(messages=(self.asked,), outputs=before)
        return Step(
            outputs=before, failed=f"no address in {self.space.subnet} is free here and at {self.peer}"
        )

    def _pick(self, unix_now: float) -> TokenPair | None:
        """Return the first offered tokens that are free here too, our own token before others."""
        local = [
            token
            for page in self._pages
            for token in page.chooser
            if self.space.is_free_local(token, self.peer, unix_now)
        ]
        remote = [
            token
            for page in self._pages
            for token in page.other
            if self.space.is_free_remote(token, self.peer, unix_now)
        ]
        last = self._pages[-1]
        self.space.refused += sum(token not in local for token in last.chooser)
        self.space.refused += sum(token not in remote for token in last.other)
        local.sort(key=lambda token: token != self.space.own_token)
        pairs = (TokenPair(ours, theirs) for ours in local for theirs in remote if ours != theirs)
        return next(pairs, None)

    def _offered_inside(self) -> bool:
        return any(
            token in self.space.subnet for page in self._pages for token in (*page.chooser, *page.other)
        )

    def _choose_blindly(
        self, unix_now: float, *, before: tuple[StoreOutput, ...] = (), provisional: bool = False
    ) -> Step:
        """Choose by our own ledger: nothing was offered yet, or nothing inside our subnet.

        Where one subnet holds the other, the smaller one's addresses suit both,
        so that either the offer or this finds a pair.
        """
        if len(self._tried) >= 2 * BLIND_MAX:
            return Step(outputs=before, failed=self._disjoint())
        locals_ = self.space.free_locals(self.own_name, self.peer, unix_now)
        ours = next((token for token in locals_ if token not in self._tried), None)
        remotes = self.space.free_remotes(self.peer, unix_now)
        theirs = next((token for token in remotes if token != ours and token not in self._tried), None)
        if ours is None or theirs is None:
            exhausted = self.space.exhausted(self.own_name if ours is None else self.peer)
            return Step(outputs=before, failed=self._disjoint() if self._tried else exhausted)
        return self._choose(TokenPair(ours, theirs), unix_now, before=before, provisional=provisional)

    def _choose(
        self, pair: TokenPair, unix_now: float, *, before: tuple[StoreOutput, ...], provisional: bool
    ) -> Step:
        """Reserve PAIR and say so."""
        expired = self.space.expire(unix_now)
        if provisional and not self.space.room_for_reservation(self.policy.reservations):
            return Step(outputs=(*before, *expired))  # the offer comes again when the handshake is through
        self._generation += 1
        lifetime_s = self.policy.reservation_s if provisional else self.policy.binding_s
        entry = self.write(pair, self._generation, accepted=False, until=unix_now + lifetime_s)
        step = self._say_again(entry)
        return Step(messages=step.messages, outputs=(*before, *expired, entry))

    def _say_again(self, entry: StoreBinding) -> Step:
        self.asked = Choose(self.pair(entry), entry.generation)
        return Step(messages=(self.asked,))

    def _revoke(self, existing: TokenPair) -> Step:
        self._generation = max(self._generation, 1)
        self.asked = Choose(existing, self._generation, revoke=True)
        return Step(messages=(self.asked,))

    # --- earlier generations

    def _supersede(self, entry: StoreBinding, unix_now: float) -> tuple[StoreOutput, ...]:
        """Give up a choice, but keep its tokens for the other host until one is accepted.

        It may have stored them and shown them; if it says so, we can still
        take them over. A host that refuses everything keeps the last few only.
        """
        dropped = self.space.drop(self.peer)
        held = self.hold(entry, unix_now + self.policy.reservation_s)
        self._held = (*self._held, *held)
        excess = max(0, len(self._held) - HELD_MAX)
        oldest, self._held = self._held[:excess], self._held[excess:]
        return (*dropped, *held, *self._let_go(oldest, unix_now))

    def _let_go(self, held: tuple[StoreQuarantine, ...], unix_now: float) -> tuple[StoreOutput, ...]:
        return tuple(output for entry in held for output in self.space.unhold(entry, unix_now))

    def _disjoint(self) -> str:
        return (
            f"{self.peer} offers no address inside {self.space.subnet} and takes none of ours: "
            "tun.subnet has to be the same on both hosts, or one inside the other"
        )

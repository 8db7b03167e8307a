"""DNSSEC: asks for what an answer's validation needs, and remembers it."""

from __future__ import annotations

import math
import time
from collections.abc import Awaitable, Callable, Hashable, Sequence
from contextlib import suppress
from typing import Final

import dns.message
import dns.name
import trio
from dns.rdatatype import DNSKEY, SOA, RdataType

from vipnet.errors import BogusError, LookupFailedError
from vipnet.names import dnssec

CACHE_MAX: Final = 512  # answers
TTL_S: Final = (1.0, 3600.0)  # they are kept at least and at most so long
UNAWARE_S: Final = 300.0  # a network without signatures is asked again after this
# By a network that has just answered something else; less than look-ups may take, so that they say why.
ROOT_WAIT_S: Final = 0.8  # for the root's keys, which resolvers have at hand: five retransmissions
CHAIN_WAIT_S: Final = 2.0  # for the rest, which they may have to ask for
PREPARE_S: Final = 15.0  # nobody waits; resolvers that find nobody to ask say so after 5 or 10 s
NAMED_MAX: Final = 3  # unanswered questions in a message

Question = tuple[dns.name.Name, RdataType]
ROOT_KEYS: Final[Question] = (dns.name.root, DNSKEY)


class Validator:
    """Validates answers of this network's resolvers.

    ask      a question with signatures wanted
    network  what changes when other resolvers are asked
    anchors  of the user; names in none of these zones hang on the root's
    strict   False: a network whose resolvers pass no signatures on makes answers unsigned,
             but for names in ANCHORS, instead of bogus
    now      seconds since 1970
    told     told between which times, seconds since 1970, it must be by what was signed,
             infinite while nothing is wrong
    """

    def __init__(
        self,
        ask: Callable[[str, RdataType], Awaitable[dns.message.Message]],
        network: Callable[[], Hashable],
        *,
        anchors: dnssec.Anchors,
        strict: bool = False,
        now: Callable[[], float] = time.time,
        told: Callable[[float, float], object] = lambda _earliest_s, _latest_s: None,
    ) -> None:
        self._ask, self._network, self._now, self._strict = ask, network, now, strict
        self._tell = told
        self._own = anchors
        self._anchors = {**dnssec.parse_anchors(dnssec.ROOT_ANCHORS), **anchors}
        self._cache: dict[Question, tuple[dns.message.Message, float]] = {}
        self._unaware: tuple[Hashable, float] | None = None  # a network, and until when

    def insists_on(self, name: dns.name.Name) -> bool:
        """Whether nothing is believed of NAME but what is proved: the user has asked for that."""
        return self._strict or dnssec.anchor_of(name, self._own) is not None

    async def is_secure(self, message: dns.message.Message) -> bool:
        """Whether the answer is signed, also one that says that there is nothing.

        Raise BogusError when it should be, and is not or wrongly.
        """
        lenient = not self.insists_on(message.question[0].name)
        if lenient and not await self._passes_signatures():
            return False
        wanted = dnssec.questions(message, self._anchors)
        evidence = await self._collect(wanted)
        try:
            return self._judge(message, evidence)
        except BogusError as error:
            for question in wanted:  # who has forged one answer may have forged these
                self._cache.pop(question, None)
            if lenient and not await self._passes_signatures():
                return False
            missing = [question for question in wanted if question not in evidence]
            if not missing:
                raise
            raise BogusError(f"{error}; the name servers answer TXT, but not {_listed(missing)}") from None

    def _judge(self, message: dns.message.Message, evidence: dnssec.Evidence) -> bool:
        """As is_secure. What is right but for its time says what is wrong with our clock."""
        now = self._now()
        try:
            secure = dnssec.is_secure(message, self._anchors, evidence, now)
        except BogusError:
            window = dnssec.window(message, evidence)
            if window is None or window[0] <= now <= window[1]:
                raise
            at, beyond = (window[0], -1) if now < window[0] else (window[1], 1)
            # Anybody can put a signature more into an answer: one that is needed must begin, or end, there.
            if not self._holds(message, evidence, at) or self._holds(message, evidence, at + beyond):
                raise
            self._tell(*window)
            raise BogusError(
                f"{message.question[0].name}: signed for {_day(window[0])} to {_day(window[1])}, and it is "
                f"{_day(now)} by this host's clock; is that right? (DNSSEC)"
            ) from None
        if secure:
            self._tell(-math.inf, math.inf)
        return secure

    def _holds(self, message: dns.message.Message, evidence: dnssec.Evidence, at: float) -> bool:
        with suppress(BogusError):
            return dnssec.is_secure(message, self._anchors, evidence, at)
        return False

    async def prepare(self) -> None:
        """Find out in good time whether this network passes signatures on, and have the root's keys.

        Without an answer that stays open: right after a move nothing may be answered at all.
        """
        if not self._strict and not self._is_unaware():
            with trio.move_on_after(PREPARE_S):
                await self._learn()

    def _is_unaware(self) -> bool:
        return (
            self._unaware is not None
            and self._unaware[0] == self._network()
            and trio.current_time() < self._unaware[1]
        )

    async def _passes_signatures(self) -> bool:
        """Whether this network's resolvers show the root's signatures.

        They have just answered another question: no answer to this one is none with signatures.
        """
        if self._is_unaware():
            return False
        network = self._network()
        with trio.move_on_after(ROOT_WAIT_S):
            return await self._learn()
        self._note_unaware(network)
        return False

    async def _learn(self) -> bool:
        """As _passes_signatures, but wait for ever; what was found out is remembered."""
        network = self._network()
        with suppress(LookupFailedError):
            if dnssec.is_signed(await self._cached(ROOT_KEYS)):
                self._unaware = None
                return True
        self._cache.pop(ROOT_KEYS, None)
        self._note_unaware(network)
        return False

    def _note_unaware(self, network: Hashable) -> None:
        self._unaware = network, trio.current_time() + UNAWARE_S

    async def _collect(self, wanted: Sequence[Question]) -> dict[Question, dns.message.Message]:
        """The answers that come in time."""
        found: dict[Question, dns.message.Message] = {}

        async def get(question: Question) -> None:
            with suppress(LookupFailedError):
                found[question] = await self._cached(question)

        with trio.move_on_after(CHAIN_WAIT_S):
            async with trio.open_nursery() as nursery:
                for question in wanted:
                    nursery.start_soon(get, question)
        return found

    async def _cached(self, question: Question) -> dns.message.Message:
        answer, until = self._cache.get(question, (None, 0.0))
        if answer is not None and trio.current_time() < until:
            return answer
        name, rdtype = question
        answer = await self._ask(name.to_text(), rdtype)
        self._cache.pop(question, None)
        while len(self._cache) >= CACHE_MAX:
            del self._cache[next(iter(self._cache))]
        self._cache[question] = answer, trio.current_time() + _ttl_s(answer)
        return answer


def _day(unix_s: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.gmtime(unix_s))


def _ttl_s(answer: dns.message.Message) -> float:
    ttls = [rrset.ttl for rrset in answer.answer]
    if not ttls:
        ttls = [min(rrset.ttl, rrset[0].minimum) for rrset in answer.authority if rrset.rdtype == SOA]
    least, most = TTL_S
    return min(max(float(min(ttls, default=0)), least), most)


def _listed(questions: Sequence[Question]) -> str:
    named = [f"{rdtype.name} {name}" for name, rdtype in questions[:NAMED_MAX]]
    more = len(questions) - len(named)
    return ", ".join(named) + (f" and {more} more" if more else "")

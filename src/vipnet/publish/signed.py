"""Messages signed with TSIG (RFC 8945) to a server, and which answers may be believed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Final, Protocol

import dns.exception
import dns.message
import dns.rcode
import dns.tsig
import trio
from msgspec import Struct

from vipnet.errors import LookupFailedError
from vipnet.names.message import answers, rcode
from vipnet.types import Locator

ANSWER_S: Final = (
    12.0  # a slow server is waited for so long (the paper's Figure 4 goes to 8 s), and meanwhile
)
UDP_ALONE_S: Final = 2.0  # ... asked over TCP as well: a middlebox may eat long datagrams
SERVER_ALONE_S: Final = 3.0  # ... and then the next server is asked, too
# Codes that say so (RFC 2136 section 2.2).
PREREQUISITE_FAILED: Final = frozenset(
    {dns.rcode.YXDOMAIN, dns.rcode.YXRRSET, dns.rcode.NXDOMAIN, dns.rcode.NXRRSET}
)
# Refusals that a server cannot sign, or that dnspython reports before it checks the signature.
_TSIG_ERRORS: Final = {
    dns.tsig.PeerBadKey: dns.rcode.BADKEY,
    dns.tsig.PeerBadSignature: dns.rcode.BADSIG,
    dns.tsig.PeerBadTime: dns.rcode.BADTIME,
    dns.tsig.PeerBadTruncation: dns.rcode.BADTRUNC,
    dns.tsig.BadTime: dns.rcode.BADTIME,
}


class Ask(Protocol):
    """Ask one server; see Lookup.ask."""

    async def __call__(
        self,
        query: bytes,
        server: Locator,
        *,
        tcp: bool,
        accept: Callable[[bytes], bool] | None,
        timeout_s: float,
    ) -> bytes: ...


class Answer(Struct, frozen=True):
    """A server's answer to a signed message.

    code       response code, or the error the server found in our signature
    message    None when the server did not like our signature
    authentic  the server's own signature is right
    """

    server: Locator
    code: dns.rcode.Rcode
    message: dns.message.Message | None = None
    authentic: bool = False


class SignedExchange:
    """Sends messages signed with KEY: over UDP, then over TCP as well, to one server after the other.

    Nobody is given up for being slow: an update that has arrived is in force, and what cannot be
    known is only that it is. Messages have to bear being taken twice.

    has_route  says that a server can be reached at all; those come first: a host that has
               just lost its IPv4 must not wait for servers that have nothing else
    """

    def __init__(
        self, ask: Ask, key: dns.tsig.Key, *, has_route: Callable[[Locator], bool] = lambda _server: True
    ) -> None:
        self._ask, self._key, self._has_route = ask, key, has_route

    async def __call__(self, message: dns.message.Message, servers: Sequence[Locator]) -> Answer:
        """Return the first answer that can be judged. Raise LookupFailedError when there is none.

        That is an authentic one, or any over TCP: everybody can forge a refusal in a
        datagram, and believing it would end publishing.
        """
        wire = message.to_wire()
        mac = message.mac or b""
        errors: list[str] = []
        found: list[Answer] = []

        async def attempt(server: Locator, tcp: bool, ended: trio.Event) -> None:
            accept = partial(self._acceptable, wire, mac, server)
            try:
                reply = await self._ask(wire, server, tcp=tcp, accept=accept, timeout_s=ANSWER_S)
            except LookupFailedError as error:
                errors.append(str(error))
            else:
                answer = self._parse(reply, mac, server)
                if answer is not None and (answer.authentic or tcp):
                    found.append(answer)
                    nursery.cancel_scope.cancel()
            ended.set()

        async with trio.open_nursery() as nursery:
            for server in sorted(servers, key=lambda server: not self._has_route(server)):
                for tcp, alone_s in ((False, UDP_ALONE_S), (True, SERVER_ALONE_S)):
                    ended = trio.Event()
                    nursery.start_soon(attempt, server, tcp, ended)
                    with trio.move_on_after(alone_s):
                        await ended.wait()
        if found:
            return found[0]
        raise LookupFailedError("; ".join(errors) or "no server is known")

    def _acceptable(self, wire: bytes, mac: bytes, server: Locator, reply: bytes) -> bool:
        return answers(wire, reply) and self._parse(reply, mac, server) is not None

    def _parse(self, reply: bytes, mac: bytes, server: Locator) -> Answer | None:
        """Return what REPLY says; None for a forgery: a wrong signature, or none where one is due."""
        code = dns.rcode.Rcode(rcode(reply))
        try:
            message = dns.message.from_wire(reply, keyring=self._key, request_mac=mac)
        except tuple(_TSIG_ERRORS) as error:
            return Answer(server, _TSIG_ERRORS[type(error)])
        except (dns.exception.DNSException, ValueError):
            return _parse_unsigned(reply, code, server)
        if not message.had_tsig:  # no error for older versions of dnspython
            return _parse_unsigned(reply, code, server)
        return Answer(server, code, message, authentic=True)


def _parse_unsigned(reply: bytes, code: dns.rcode.Rcode, server: Locator) -> Answer | None:
    """A refusal without a signature, as from a server that does not know TSIG."""
    try:
        message = dns.message.from_wire(reply)  # raises UnknownTSIGKey for a signed one
    except (dns.exception.DNSException, ValueError):
        return None
    return None if code in {dns.rcode.NOERROR, *PREREQUISITE_FAILED} else Answer(server, code, message)

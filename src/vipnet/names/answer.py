"""What an application gets for a VIP name: the answers that we build ourselves.

A token's TTL is 1 s, so that a cache in front of us (nscd, a browser) asks again soon
when a binding has changed. Nothing is ever NXDOMAIN: the name exists (design: names).
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, ip_address
from typing import Final

import dns.edns
import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rrset
from dns.rdataclass import IN
from dns.rdatatype import AAAA, CNAME, DNAME, HTTPS, PTR, SOA, SVCB, A
from msgspec import Struct

from vipnet.errors import WireError
from vipnet.names.message import UDP_PAYLOAD, Question, text_of
from vipnet.types import Fqdn, Token, parse_name

TOKEN_TTL_S: Final = 1
# Types that say how to reach a host: for a VIP name only A has an answer.
ADDRESS_TYPES: Final = frozenset({A, AAAA, HTTPS, SVCB})
_EXTRA_TEXT_MAX = 200  # bytes; an explanation must not make an answer too long for UDP


class Alias(Struct, frozen=True):
    """One CNAME on the way from the name that was asked for to the name that has the answer.

    dname  the DNAME that it was made from (RFC 6672 section 3.1), None for an ordinary one
    """

    owner: str
    target: str
    ttl_s: int
    dname: Alias | None = None


def parse_query(wire: bytes) -> dns.message.Message:
    """Return WIRE parsed. Raise WireError when it is no query that we can answer ourselves."""
    try:
        query = dns.message.from_wire(wire, ignore_trailing=True)
    except (dns.exception.DNSException, ValueError) as error:
        raise WireError(f"DNS query: {error or type(error).__name__}") from None
    if query.flags & dns.flags.QR or query.opcode() != 0 or len(query.question) != 1 or query.edns > 0:
        raise WireError("DNS query: response, other opcode, not one question, or unknown EDNS version")
    return query


def host_asked_for(question: Question) -> Fqdn | None:
    """Return the host whose address QUESTION is about, None when it is about something else."""
    if question.rdclass != IN or question.rdtype not in ADDRESS_TYPES:
        return None
    name = question.name
    if question.rdtype in (HTTPS, SVCB):  # _8443._https.NAME is about NAME (RFC 9460 section 2.3)
        while name.startswith("_"):
            name = name.partition(".")[2]
    if name.startswith("_"):
        return None
    try:
        return parse_name(name)
    except ValueError:
        return None


def token_asked_for(question: Question) -> Token | None:
    """Return the IPv4 address whose name QUESTION asks for, None when it asks for something else."""
    suffix = ".in-addr.arpa"
    if question.rdclass != IN or question.rdtype != PTR or not question.name.endswith(suffix):
        return None
    labels = question.name.removesuffix(suffix).split(".")
    try:
        return Token(IPv4Address(".".join(reversed(labels))))
    except ValueError:
        return None


def token_answer(query: dns.message.Message, token: Token, aliases: Sequence[Alias] = ()) -> bytes:
    """The token for an A question; no data for any other type."""
    response = _response(query)
    owner = _add_aliases(response, aliases)
    if query.question[0].rdtype == A:
        response.answer.append(dns.rrset.from_text(owner, TOKEN_TTL_S, IN, A, str(token)))
    else:
        _add_soa(response, owner)
    return _wire(response)


def no_data(query: dns.message.Message, aliases: Sequence[Alias] = ()) -> bytes:
    """The name exists, but has nothing of this type (RFC 2308 section 2.2)."""
    response = _response(query)
    _add_soa(response, _add_aliases(response, aliases))
    return _wire(response)


def no_such_name(query: dns.message.Message) -> bytes:
    """NXDOMAIN, to be cached for a moment (RFC 2308 section 2.1)."""
    response = _response(query)
    response.set_rcode(dns.rcode.NXDOMAIN)
    _add_soa(response, response.question[0].name)
    return _wire(response)


def pointer_answer(query: dns.message.Message, name: Fqdn) -> bytes:
    """The name that a token stands for."""
    response = _response(query)
    owner = query.question[0].name
    response.answer.append(dns.rrset.from_text(owner, TOKEN_TTL_S, IN, PTR, f"{name}."))
    return _wire(response)


def failure(query: dns.message.Message, code: dns.edns.EDECode, text: str) -> bytes:
    """SERVFAIL, with an extended error that says why when the client knows EDNS (RFC 8914)."""
    response = _response(query)
    response.set_rcode(dns.rcode.SERVFAIL)
    if query.edns >= 0:
        short = text.encode()[:_EXTRA_TEXT_MAX].decode(errors="ignore")
        response.use_edns(0, 0, UDP_PAYLOAD, options=[dns.edns.EDEOption(code, short)])
    return _wire(response)


def bare_failure(query: bytes) -> bytes:
    """SERVFAIL to a query of which only the header could be read."""
    return query[:2] + bytes([0x80 | query[2] & 0x79, 0x80 | dns.rcode.SERVFAIL]) + bytes(8)


def aliases_in(reply: bytes) -> tuple[Alias, ...]:
    """Return the CNAMEs that lead from the question of REPLY onwards; none when it does not parse."""
    try:
        message = dns.message.from_wire(reply, ignore_trailing=True)
        if not isinstance(message, dns.message.QueryMessage):
            return ()
        chain = message.resolve_chaining()
    except (dns.exception.DNSException, ValueError):
        return ()
    dnames = [rrset for rrset in message.answer if rrset.rdtype == DNAME]
    return tuple(_alias(rrset, dnames) for rrset in chain.cnames if rrset.rdtype == CNAME)


def _alias(cname: dns.rrset.RRset, dnames: Sequence[dns.rrset.RRset]) -> Alias:
    above = [rrset for rrset in dnames if cname.name != rrset.name and cname.name.is_subdomain(rrset.name)]
    dname = max(above, key=lambda rrset: len(rrset.name), default=None)
    made_from = None if dname is None else Alias(text_of(dname.name), text_of(dname[0].target), dname.ttl)
    return Alias(text_of(cname.name), text_of(cname[0].target), cname.ttl, made_from)


def addresses_in(reply: dns.message.Message) -> tuple[str, ...]:
    """The addresses in an answer section, whatever names they belong to, as canonical text."""
    return tuple(
        str(ip_address(rdata.address))
        for rrset in reply.answer
        if rrset.rdclass == IN and rrset.rdtype in (A, AAAA)
        for rdata in rrset
    )


def _response(query: dns.message.Message) -> dns.message.Message:
    response = dns.message.make_response(query, recursion_available=True, our_payload=UDP_PAYLOAD, pad=0)
    response.want_dnssec(bool(query.ednsflags & dns.flags.DO)) if query.edns >= 0 else None
    return response


def _wire(response: dns.message.Message) -> bytes:
    # The resolver cuts what is too long for the client; left to itself dnspython raises TooBig.
    return response.to_wire(max_size=65535)


def _add_aliases(response: dns.message.Message, aliases: Sequence[Alias]) -> dns.name.Name:
    """Add the chain to the answer and return the name at its end."""
    owner = response.question[0].name
    for alias in aliases:
        if (dname := alias.dname) is not None:
            above = dns.name.from_text(dname.owner)
            response.answer.append(dns.rrset.from_text(above, dname.ttl_s, IN, DNAME, f"{dname.target}."))
        response.answer.append(dns.rrset.from_text(owner, alias.ttl_s, IN, CNAME, f"{alias.target}."))
        owner = dns.name.from_text(alias.target)
    return owner


def _add_soa(response: dns.message.Message, owner: dns.name.Name) -> None:
    """The SOA that lets a client cache `no data`, for as long as a token (RFC 2308 section 3)."""
    text = f"{owner.to_text()} nobody.invalid. 1 3600 600 86400 {TOKEN_TTL_S}"
    response.authority.append(dns.rrset.from_text(owner, TOKEN_TTL_S, IN, SOA, text))

"""Questions of our own, and what their answers say."""

from __future__ import annotations

import os
import struct

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
from dns.rdataclass import IN
from dns.rdatatype import OPT, SOA, RdataType
from msgspec import Struct

from vipnet.errors import LookupFailedError
from vipnet.names.chain import text_chain
from vipnet.names.message import UDP_PAYLOAD
from vipnet.names.records import CapabilityRecord, capability_of
from vipnet.types import Locator


class Capability(Struct, frozen=True):
    """Whether a name speaks vipnet.

    record  None: it does not
    secure  DNSSEC says so, too, whichever it is
    ttl_s   how long that may be believed; of a negative answer by its SOA (RFC 2308)
    """

    record: CapabilityRecord | None
    ttl_s: float
    secure: bool = False


class RefusedError(LookupFailedError):
    """A server answered that it cannot answer; there may be no better answer than that."""

    def __init__(self, server: Locator, reply: bytes) -> None:
        super().__init__(f"{server} answers {dns.rcode.to_text(dns.rcode.Rcode(reply[3] & 0xF))}")
        self.reply = reply


def make_question(name: str, rdtype: RdataType, *, recursion: bool, signed: bool = False) -> bytes:
    """A query with a random id, and with EDNS (RFC 6891).

    signed  signatures are wanted, and the resolver's own opinion of them is not: who validates
            itself wants to see what is bogus (RFC 4035 section 4.9.2)
    """
    flags = (dns.flags.RD if recursion else 0) | (dns.flags.CD if signed else 0)
    header = struct.pack("!6H", int.from_bytes(os.urandom(2), "big"), flags, 1, 0, 0, 1)
    opt = struct.pack("!BHHIH", 0, OPT, UDP_PAYLOAD, dns.flags.DO if signed else 0, 0)
    owner = dns.name.from_text(name).to_wire() or b""
    return header + owner + struct.pack("!HH", rdtype, IN) + opt


def parse_reply(reply: bytes, server: Locator) -> dns.message.Message:
    """Return REPLY parsed. Raise LookupFailedError unless it says that there is, or is not, such a record."""
    if reply[3] & 0xF not in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
        raise RefusedError(server, reply)
    try:
        return dns.message.from_wire(reply, ignore_trailing=True)
    except (dns.exception.DNSException, ValueError) as error:
        raise LookupFailedError(f"{server} answers nonsense: {error or type(error).__name__}") from None


def capability_from(message: dns.message.Message) -> Capability:
    """What an answer to TXT _vip.NAME means."""
    # Below a DNAME every name is another's alias: it is the other one that the record speaks of.
    chain = text_chain(message)
    ttls = [rrset.ttl for rrset in message.answer]
    if chain.texts is None and chain.dname is None:
        # RFC 2308 section 5; without an SOA a negative answer must not be cached.
        ttls += [min(rrset.ttl, rrset[0].minimum) for rrset in message.authority if rrset.rdtype == SOA] or [
            0
        ]
    texts = () if chain.texts is None else (b"".join(rdata.strings) for rdata in chain.texts)
    return Capability(capability_of(texts), float(min(ttls)))

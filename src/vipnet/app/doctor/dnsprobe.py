"""Questions to DNS whose answers the checks judge: who says what of our name, and what time it is there."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final

import dns.exception
import dns.flags
import dns.message
import dns.rcode
import dns.rdataclass
import dns.tsig
import trio
from dns.rdatatype import AAAA, RRSIG, SOA, TXT, A, RdataType

from vipnet.app.config import Config
from vipnet.app.doctor.facts import ClockSource, ServerAnswer, TsigAnswer
from vipnet.errors import LookupFailedError
from vipnet.names.answer import addresses_in
from vipnet.names.message import answers
from vipnet.names.records import capability_of
from vipnet.system.lookup import Lookup
from vipnet.types import Fqdn, Locator, PublicKey

WAIT_S: Final = 2.0  # for one answer
_ERRORS: Final = {16: "BADSIG", 17: "BADKEY", 18: "BADTIME", 22: "BADTRUNC"}  # RFC 8945 section 4.3


async def ask_server(
    lookup: Lookup, server: Locator, name: Fqdn, key: PublicKey | None, *, recursion: bool
) -> ServerAnswer:
    """What SERVER says of NAME's addresses and capability record."""
    addresses: list[str] = []
    texts: list[bytes] = []
    problems: list[str] = []

    async def ask(owner: str, rdtype: RdataType) -> None:
        try:
            message = await _ask(lookup, server, owner, rdtype, recursion=recursion)
        except LookupFailedError as error:
            problems.append(str(error))
            return
        addresses.extend(addresses_in(message))
        texts.extend(
            b"".join(rdata.strings) for rrset in message.answer if rrset.rdtype == TXT for rdata in rrset
        )

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask, name, A)
        nursery.start_soon(ask, name, AAAA)
        nursery.start_soon(ask, f"_vip.{name}", TXT)
    record = capability_of(texts)
    return ServerAnswer(
        str(server),
        tuple(sorted(addresses, key=lambda address: ":" in address)),
        None if record is None or key is None else record.key == key,
        problems[0] if problems and not addresses else None,
    )


async def software(lookup: Lookup, server: Locator) -> str | None:
    """What SERVER calls itself: dnsmasq and unbound do (version.bind, class CHAOS)."""
    query = dns.message.make_query("version.bind", TXT, dns.rdataclass.CHAOS)
    wire = query.to_wire()
    try:
        reply = dns.message.from_wire(
            await lookup.ask(wire, server, accept=lambda reply: answers(wire, reply), timeout_s=WAIT_S)
        )
    except (LookupFailedError, dns.exception.DNSException, ValueError):
        return None
    found = [b"".join(rdata.strings) for rrset in reply.answer if rrset.rdtype == TXT for rdata in rrset]
    text = found[0].decode("ascii", "replace")[:80] if found else ""
    return text if text.isprintable() and text else None


async def ask_signed(lookup: Lookup, config: Config, key: dns.tsig.Key) -> TsigAnswer:
    """Ask the primary for the zone's SOA, signed as an update would be: nothing is changed by it."""
    publish = config.publish
    try:
        primary = await lookup.primary(
            config.name, server=publish.server, port=publish.port, zone=publish.zone
        )
    except LookupFailedError as error:
        return TsigAnswer(publish.server or config.name, problem=str(error))
    server = primary.servers[0]
    query = dns.message.make_query(primary.zone, SOA)
    query.use_tsig(key)
    wire = query.to_wire()
    sent_at = time.time()
    try:
        reply = await lookup.ask(wire, server, accept=lambda reply: answers(wire, reply), timeout_s=WAIT_S)
    except LookupFailedError as error:
        return TsigAnswer(str(server), problem=str(error))
    return judge_signed(reply, str(server), sent_at)


def judge_signed(reply: bytes, server: str, now: float) -> TsigAnswer:
    """Read the TSIG record of REPLY (RFC 8945 section 5.2): which error, and what time it is there.

    The signature itself is not checked: a diagnosis may be misled, and moves nothing.
    """
    try:
        # No key: the record is read, not verified. Its time stands in `other` for BADTIME.
        message = dns.message.from_wire(reply, keyring=False, ignore_trailing=True)
    except (dns.exception.DNSException, ValueError):
        return TsigAnswer(server, problem="its answer cannot be read")
    rdata = message.tsig[0] if message.tsig else None
    code = message.rcode()
    if rdata is None:
        refusal = None if code == dns.rcode.NOERROR else dns.rcode.to_text(code)
        return TsigAnswer(server, refusal or "it does not sign its answer")
    there = int.from_bytes(rdata.other, "big") if len(rdata.other) == 6 else rdata.time_signed
    error = _ERRORS.get(rdata.error) or (None if not rdata.error else str(rdata.error))
    if error is None and code not in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
        error = dns.rcode.to_text(code)
    # Without a key of ours some servers have no time to tell.
    return TsigAnswer(server, error, now - there if there and error in (None, "BADTIME") else None)


async def signature_clock(lookup: Lookup, servers: tuple[Locator, ...], zone: str) -> ClockSource | None:
    """Whether now lies within the signatures of ZONE's SOA record, by the first server that has some."""
    query = dns.message.make_query(zone, SOA, want_dnssec=True)
    wire = query.to_wire()
    for server in servers[:2]:
        with suppress(LookupFailedError, dns.exception.DNSException, ValueError):
            reply = await lookup.ask(
                wire, server, accept=lambda reply: answers(wire, reply), timeout_s=WAIT_S
            )
            found = judge_signatures(dns.message.from_wire(reply), time.time())
            if found is not None:
                return ClockSource(f"signatures of {zone} (DNSSEC)", found, exact=False)
    return None


def judge_signatures(message: dns.message.Message, now: float) -> float | None:
    """How far NOW lies outside of the signatures' validity, in seconds; 0: inside; None: there are none."""
    spans = [
        (rdata.inception, rdata.expiration)
        for rrset in message.answer + message.authority
        if rrset.rdtype == RRSIG
        for rdata in rrset
    ]
    if not spans:
        return None
    begin, end = max(span[0] for span in spans), min(span[1] for span in spans)
    return now - begin if now < begin else now - end if now > end else 0.0


async def http_clock(url: str, fetch: Callable[[str], Awaitable[str | None]]) -> ClockSource | None:
    """The Date header (RFC 9110 section 6.6.1) of URL, as FETCH gets it."""
    import email.utils
    from urllib.parse import urlsplit

    text = await fetch(url)
    if text is None:
        return None
    try:
        there = email.utils.parsedate_to_datetime(text).timestamp()
    except ValueError:
        return None
    return ClockSource(f"the clock of {urlsplit(url).hostname}", time.time() - there, exact=True)


async def _ask(
    lookup: Lookup, server: Locator, owner: str, rdtype: RdataType, *, recursion: bool
) -> dns.message.Message:
    query = dns.message.make_query(owner, rdtype, flags=dns.flags.RD if recursion else 0)
    wire = query.to_wire()
    reply = await lookup.ask(wire, server, accept=lambda reply: answers(wire, reply), timeout_s=WAIT_S)
    try:
        message = dns.message.from_wire(reply, ignore_trailing=True)
    except (dns.exception.DNSException, ValueError):
        raise LookupFailedError(f"{server} answers nonsense") from None
    code = message.rcode()
    if code not in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
        raise LookupFailedError(f"{server} answers {dns.rcode.to_text(code)}")
    return message

"""A zone that can be asked and updated: DNS as the lab needs it, without sockets.

Names of one zone, no delegations and no wildcards; updates follow RFC 2136,
section by section. Who may change what is a rule of the lab (see `may_change`).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import dns.flags
import dns.message
import dns.name
import dns.opcode
import dns.rcode
import dns.rdata
import dns.rdataclass
import dns.rdataset
import dns.rdatatype
import dns.rrset
import dns.update
from dns.name import Name
from dns.rcode import Rcode
from dns.rdataclass import RdataClass
from dns.rdataset import Rdataset
from dns.rdatatype import RdataType
from dns.rrset import RRset
from msgspec import Struct

Node = dict[RdataType, Rdataset]  # never an empty Rdataset

UDP_SIZE: Final = 1232  # bytes of an answer by UDP at most (DNS flag day 2020)
_CNAMES_MAX: Final = 8
_NOT_UPDATED: Final = frozenset({RdataType.AXFR, RdataType.IXFR, RdataType.ANY})


class UpdateRefusedError(Exception):
    """An update is not taken; `rcode` says why (RFC 2136 section 2.2)."""

    def __init__(self, rcode: Rcode, reason: str) -> None:
        super().__init__(reason)
        self.rcode = rcode


class Record(Struct, frozen=True):
    """One record as text; `name` is absolute."""

    name: str
    kind: str
    value: str
    ttl: int = 5  # seconds


class Zone:
    """Records of one zone, and what may be done with them."""

    def __init__(self, origin: str, records: Iterable[Record]) -> None:
        self.origin = dns.name.from_text(origin)
        self.nodes: dict[Name, Node] = {}
        for record in records:
            name, kind = dns.name.from_text(record.name), RdataType.make(record.kind)
            rdata = dns.rdata.from_text(RdataClass.IN, kind, record.value)
            node = self.nodes.setdefault(name, {})
            node[kind] = _rdataset(record.ttl, [*node.get(kind, ()), rdata])

    @property
    def serial(self) -> int:
        serial: int = self.nodes[self.origin][RdataType.SOA][0].serial
        return serial

    # --- questions

    def answer(self, query: dns.message.Message) -> dns.message.Message:
        """Answer with authority (RFC 1034 section 4.3.2, without delegations)."""
        response = dns.message.make_response(query, our_payload=UDP_SIZE)
        if query.edns > 0:
            response.set_rcode(Rcode.BADVERS)
        elif query.opcode() != dns.opcode.QUERY:
            response.set_rcode(Rcode.NOTIMP)
        elif len(query.question) != 1:
            response.set_rcode(Rcode.FORMERR)
        else:
            self._answer_question(query.question[0], response)
        return response

    def _answer_question(self, question: RRset, response: dns.message.Message) -> None:
        transfer = question.rdtype in (RdataType.AXFR, RdataType.IXFR)
        if not question.name.is_subdomain(self.origin) or question.rdclass != RdataClass.IN or transfer:
            response.set_rcode(Rcode.REFUSED)
            return
        response.flags |= dns.flags.AA
        name = question.name
        for _ in range(_CNAMES_MAX):
            node = self.nodes.get(name, {})
            cname = node.get(RdataType.CNAME)
            if cname is None or question.rdtype in (RdataType.CNAME, RdataType.ANY):
                break
            response.answer.append(_rrset(name, cname))
            name = cname[0].target
            if not name.is_subdomain(self.origin):
                return
        found = [one for kind, one in node.items() if question.rdtype in (kind, RdataType.ANY)]
        response.answer += [_rrset(name, rdataset) for rdataset in found]
        if not found:
            if not self._exists(name):
                response.set_rcode(Rcode.NXDOMAIN)
            soa = self.nodes[self.origin][RdataType.SOA]
            ttl = min(soa.ttl, soa[0].minimum)  # RFC 2308 section 3
            response.authority.append(dns.rrset.from_rdata(self.origin, ttl, soa[0]))
        if question.rdtype == RdataType.NS:
            self._add_addresses(response)

    def _exists(self, name: Name) -> bool:
        """A name with names below it exists, though it has no records (RFC 8020)."""
        return any(other.is_subdomain(name) for other in self.nodes)

    def _add_addresses(self, response: dns.message.Message) -> None:
        for rrset in response.answer:
            for server in (rdata.target for rdata in rrset if rdata.rdtype == RdataType.NS):
                node = self.nodes.get(server, {})
                for kind in (RdataType.A, RdataType.AAAA):
                    if kind in node:
                        response.additional.append(_rrset(server, node[kind]))

    # --- updates

    def update(self, message: dns.update.UpdateMessage, key: Name | None) -> list[str]:
        """Carry out MESSAGE, signed with KEY, as a whole or not at all; return what was asked, as text.

        Raise UpdateRefusedError.
        """
        self._check_zone(message)
        self._check_prerequisites(message.prerequisite)
        for rrset in message.update:
            self._check_update(rrset, key)
        before = self.nodes
        self.nodes = {name: dict(node) for name, node in before.items()}
        for rrset in message.update:
            self._apply(rrset)
        self.nodes = {name: node for name, node in self.nodes.items() if node}
        if self.nodes != before:
            self._raise_serial()
        return [_as_text(rrset) for rrset in message.update]

    def _check_zone(self, message: dns.update.UpdateMessage) -> None:
        """Section 3.1."""
        if len(message.zone) != 1 or message.zone[0].rdtype != RdataType.SOA:
            raise UpdateRefusedError(Rcode.FORMERR, "zone section")
        if message.zone[0].name != self.origin or message.zone[0].rdclass != RdataClass.IN:
            raise UpdateRefusedError(Rcode.NOTAUTH, f"not the server of {message.zone[0].name}")

    def _check_prerequisites(self, prerequisites: Iterable[RRset]) -> None:
        """Section 3.2."""
        wanted: dict[tuple[Name, RdataType], set[dns.rdata.Rdata]] = {}
        for rrset in prerequisites:
            self._check_inside(rrset)
            if rrset.ttl != 0:
                raise UpdateRefusedError(Rcode.FORMERR, f"prerequisite {rrset.name}: TTL")
            if rrset.deleting is None:
                wanted.setdefault((rrset.name, rrset.rdtype), set()).update(rrset)
            else:
                self._check_existence(rrset)
        for (name, kind), values in wanted.items():
            if set(self.nodes.get(name, {}).get(kind, ())) != values:
                raise UpdateRefusedError(Rcode.NXRRSET, f"prerequisite {name} {kind.name}: other values")

    def _check_existence(self, rrset: RRset) -> None:
        """Sections 3.2.1 and 3.2.2: class ANY says there is, class NONE there is not."""
        node = self.nodes.get(rrset.name, {})
        by_name = rrset.rdtype == RdataType.ANY
        there = bool(node) if by_name else rrset.rdtype in node
        where = f"prerequisite {rrset.name} {rrset.rdtype.name}"
        if rrset.deleting == RdataClass.ANY and not there:
            raise UpdateRefusedError(Rcode.NXDOMAIN if by_name else Rcode.NXRRSET, f"{where}: not there")
        if rrset.deleting == RdataClass.NONE and there:
            raise UpdateRefusedError(Rcode.YXDOMAIN if by_name else Rcode.YXRRSET, f"{where}: there")

    def _check_update(self, rrset: RRset, key: Name | None) -> None:
        """Sections 3.3 (who may) and 3.4.1 (is it well-formed)."""
        self._check_inside(rrset)
        if not may_change(key, rrset.name, rrset.rdtype):
            raise UpdateRefusedError(Rcode.REFUSED, f"{key} may not change {rrset.name} {rrset.rdtype.name}")
        if rrset.rdtype in _NOT_UPDATED and rrset.deleting != RdataClass.ANY:
            raise UpdateRefusedError(Rcode.FORMERR, f"update {rrset.name} {rrset.rdtype.name}")

    def _check_inside(self, rrset: RRset) -> None:
        if not rrset.name.is_subdomain(self.origin):
            raise UpdateRefusedError(Rcode.NOTZONE, f"{rrset.name} is not in {self.origin}")

    def _apply(self, rrset: RRset) -> None:
        """Section 3.4.2, for names that are not the zone's own: `may_change` leaves those alone."""
        if rrset.deleting is None:
            self._add(rrset)
            return
        node = self.nodes.get(rrset.name, {})
        if rrset.deleting == RdataClass.ANY and rrset.rdtype == RdataType.ANY:
            node.clear()
        elif rrset.deleting == RdataClass.ANY:
            node.pop(rrset.rdtype, None)
        elif rrset.rdtype in node:
            present = node.pop(rrset.rdtype)
            left = [rdata for rdata in present if rdata != rrset[0]]
            if left:
                node[rrset.rdtype] = _rdataset(present.ttl, left)

    def _add(self, rrset: RRset) -> None:
        node = self.nodes.setdefault(rrset.name, {})
        # A CNAME stands alone; what would break that is left out silently (section 3.4.2.2).
        if (rrset.rdtype == RdataType.CNAME) != (RdataType.CNAME in node) and node:
            return
        present = node.get(rrset.rdtype, ())
        values = [*present, *(rdata for rdata in rrset if rdata not in present)]
        if rrset.rdtype == RdataType.CNAME:
            values = [rrset[0]]
        # The newest TTL counts for all: an RRset has one (RFC 2181 section 5.2).
        node[rrset.rdtype] = _rdataset(rrset.ttl, values)

    def _raise_serial(self) -> None:
        soa = self.nodes[self.origin][RdataType.SOA]
        serial = self.serial % (2**32 - 1) + 1  # never 0 (section 3.6)
        self.nodes[self.origin][RdataType.SOA] = _rdataset(soa.ttl, [soa[0].replace(serial=serial)])


def may_change(key: Name | None, name: Name, kind: RdataType) -> bool:
    """A key named like a host may change that host's addresses, and TXT at `_vip` and `_seq._vip` below it.

    Type ANY deletes whatever is at a name, so that it is allowed where one of these is.
    """
    if key is None:
        return False
    if name == key:
        return kind in (RdataType.A, RdataType.AAAA, RdataType.ANY)
    markers = (dns.name.from_text("_vip", key), dns.name.from_text("_seq._vip", key))
    return name in markers and kind in (RdataType.TXT, RdataType.ANY)


def _rdataset(ttl: int, values: list[dns.rdata.Rdata]) -> Rdataset:
    """Rdatasets are never changed, so that a copy of a node is a copy of its dictionary."""
    return dns.rdataset.from_rdata_list(ttl, values)


def _rrset(name: Name, rdataset: Rdataset) -> RRset:
    return dns.rrset.from_rdata_list(name, rdataset.ttl, list(rdataset))


def _as_text(rrset: RRset) -> str:
    what = "add" if rrset.deleting is None else "delete"
    values = " ".join(rdata.to_text() for rdata in rrset)
    return f"{what} {rrset.name} {rrset.rdtype.name} {values}".rstrip()
